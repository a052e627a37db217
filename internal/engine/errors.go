package engine

import "fmt"

// kindError is an error whose text is docker's, to the letter, and whose kind
// does not show in it.
type kindError struct {
	error
	kind error
}

func (e kindError) Unwrap() []error { return []error{e.error, e.kind} }

// failure makes an error of one of errdefs' kinds.
func failure(kind error, format string, args ...any) error {
	return kindError{error: fmt.Errorf(format, args...), kind: kind}
}
