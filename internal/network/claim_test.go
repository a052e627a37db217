package network

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
)

func TestEnginesThatStartTogetherHaveTheirOwnSubnets(t *testing.T) {
	t.Parallel()
	inNamespace(t, func(t *testing.T) {
		here, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		defer here.Close()
		var mu sync.Mutex
		subnets := map[netip.Prefix]bool{}
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				opts := Options{StateDir: "/state", Bridge: fmt.Sprintf("together%d", i), Table: fmt.Sprintf("together%d", i)}
				err := inside(here, func() error {
					m, err := Open(context.Background(), opts)
					if err != nil {
						return err
					}
					defer m.release()
					mu.Lock()
					defer mu.Unlock()
					subnets[m.Subnet()] = true
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(subnets) != 6 {
			t.Errorf("six engines have the subnets %v", subnets)
		}
	})
}
