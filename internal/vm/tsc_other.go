//go:build !amd64

package vm

// hostTSC is unknown: there is no such counter, and a guest has to find out.
func hostTSC() TSC { return TSC{} }
