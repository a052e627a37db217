package logfile

import (
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendEntry appends one entry with its newline to dst. The text is data,
// plus a newline if end is set.
func appendEntry(dst []byte, stream string, at time.Time, data []byte, end bool) []byte {
	dst = append(dst, `{"log":"`...)
	dst = appendText(dst, data)
	if end {
		dst = append(dst, `\n`...)
	}
	dst = append(dst, `","stream":"`...)
	dst = append(dst, stream...)
	dst = append(dst, `","time":"`...)
	dst = at.UTC().AppendFormat(dst, time.RFC3339Nano)
	return append(dst, "\"}\n"...)
}

// appendText appends data as the inside of a JSON string, escaped the way
// docker's marshaller does.
func appendText(dst, data []byte) []byte {
	start := 0
	for i := 0; i < len(data); {
		b := data[i]
		if b < utf8.RuneSelf {
			if !escaped(b) {
				i++
				continue
			}
			dst = append(dst, data[start:i]...)
			dst = appendEscaped(dst, b)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(dst, data[start:i]...)
			dst = append(dst, `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029': // newlines to JavaScript
			dst = append(dst, data[start:i]...)
			dst = append(dst, `\u202`...)
			dst = append(dst, hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	return append(dst, data[start:]...)
}

func escaped(b byte) bool {
	return b < 0x20 || b == '"' || b == '\\' || b == '<' || b == '>' || b == '&'
}

func appendEscaped(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&0xf])
}
