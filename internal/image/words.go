package image

import (
	"fmt"
	"strings"
)

// split cuts a line into words as a Dockerfile does: spaces divide, quotes
// hold together, a backslash takes the next character as it is (inside single
// quotes it is a character like others, inside double quotes it escapes only
// the quote, a dollar sign and itself). Variables are replaced but in single
// quotes, and what they become is not cut.
func split(s string, get variables) ([]string, error) {
	var words []string
	var w strings.Builder
	inWord, quote := false, rune(0)
	rs := []rune(s)
	for i := 0; i < len(rs); i++ {
		r := rs[i]
		switch {
		case r == '\\' && quote != '\'' && i+1 < len(rs) && (quote == 0 || strings.ContainsRune(`"\$`, rs[i+1])):
			i++
			w.WriteRune(rs[i])
			inWord = true
		case r == '$' && quote != '\'' && get != nil:
			value, used, err := get.at(rs[i:])
			if err != nil {
				return nil, err
			}
			w.WriteString(value)
			i += used - 1
			inWord = true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			w.WriteRune(r)
		case r == '"' || r == '\'':
			quote, inWord = r, true
		case r == ' ' || r == '\t':
			if inWord {
				words = append(words, w.String())
				w.Reset()
				inWord = false
			}
		default:
			w.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a quotation mark (%c) is not closed", quote)
	}
	if inWord {
		words = append(words, w.String())
	}
	return words, nil
}
