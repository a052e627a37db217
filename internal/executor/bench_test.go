package executor_test

import (
	"context"
	"fmt"
	"testing"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"

	"bothy/internal/executortest"
)

// BenchmarkTrue is a container's whole life: create, start, exit, delete.
func BenchmarkTrue(b *testing.B) {
	f := newFixture(b)
	ctx := context.Background()
	r := f.prepare(b, "bench", executortest.DefaultSpec())
	for i := 0; b.Loop(); i++ {
		r.ID = fmt.Sprint("bench-", i)
		if _, err := f.service.Create(ctx, r); err != nil {
			b.Fatal(err)
		}
		if _, err := f.service.Start(ctx, &taskapi.StartRequest{ID: r.ID}); err != nil {
			b.Fatal(err)
		}
		if _, err := f.service.Wait(ctx, &taskapi.WaitRequest{ID: r.ID}); err != nil {
			b.Fatal(err)
		}
		if _, err := f.service.Delete(ctx, &taskapi.DeleteRequest{ID: r.ID}); err != nil {
			b.Fatal(err)
		}
	}
}
