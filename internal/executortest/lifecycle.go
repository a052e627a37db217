package executortest

import "testing"

var lifecycleCases = map[string]func(*testing.T, *env){}
var securityCases = map[string]func(*testing.T, *env){}
var resourceCases = map[string]func(*testing.T, *env){}
var terminalCases = map[string]func(*testing.T, *env){}
var execCases = map[string]func(*testing.T, *env){}
