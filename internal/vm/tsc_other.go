//go:build !amd64

package vm

// tscKHz is 0: there is no such counter, and a guest has to find out.
func tscKHz() int { return 0 }
