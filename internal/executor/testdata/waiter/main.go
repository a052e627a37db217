// Command waiter is a static program with a waiter in it, which the tests'
// program, not being static, cannot be in a container's empty root.
package main

import _ "bothy/internal/executor/waiter"

func main() {}
