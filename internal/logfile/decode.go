package logfile

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// decode reads one entry without its newline. It is false for what is none:
// the torn end of a crash, or bytes that nobody knows.
func decode(entry []byte) (Line, bool) {
	if line, ok := decodePlain(entry); ok {
		return line, true
	}
	return decodeJSON(entry)
}

// decodePlain reads what this package and docker write, quickly.
func decodePlain(entry []byte) (Line, bool) {
	rest, ok := bytes.CutPrefix(entry, []byte(`{"log":"`))
	if !ok {
		return Line{}, false
	}
	data, rest, ok := cutText(rest)
	if !ok {
		return Line{}, false
	}
	rest, ok = bytes.CutPrefix(rest, []byte(`,"stream":"`))
	if !ok {
		return Line{}, false
	}
	stream, rest, ok := bytes.Cut(rest, []byte(`","time":"`))
	if !ok {
		return Line{}, false
	}
	stamp, ok := bytes.CutSuffix(rest, []byte(`"}`))
	if !ok {
		return Line{}, false
	}
	name, ok := streamName(string(stream))
	if !ok {
		return Line{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	return Line{Stream: name, Time: at, Data: data}, err == nil
}

// decodeJSON reads any entry with docker's fields, in any order and with
// others beside them.
func decodeJSON(entry []byte) (Line, bool) {
	var e struct {
		Log    *string   `json:"log"`
		Stream string    `json:"stream"`
		Time   time.Time `json:"time"`
	}
	if json.Unmarshal(entry, &e) != nil || e.Log == nil {
		return Line{}, false
	}
	name, ok := streamName(e.Stream)
	return Line{Stream: name, Time: e.Time, Data: []byte(*e.Log)}, ok
}

func streamName(s string) (string, bool) {
	switch s {
	case "stdout":
		return "stdout", true
	case "stderr":
		return "stderr", true
	}
	return "", false
}

// cutText reads the inside of a JSON string up to its quote, in a buffer of
// its own, and what follows the quote. It is false for anything unusual.
func cutText(p []byte) (text, rest []byte, ok bool) {
	stop := bytes.IndexAny(p, "\"\\")
	if stop < 0 {
		return nil, nil, false
	}
	text = make([]byte, 0, len(p))
	for stop >= 0 {
		text = append(text, p[:stop]...)
		if p[stop] == '"' {
			return text, p[stop+1:], utf8.Valid(text)
		}
		text, p, ok = unescape(text, p[stop+1:])
		if !ok {
			return nil, nil, false
		}
		stop = bytes.IndexAny(p, "\"\\")
	}
	return nil, nil, false
}

// unescape appends what the escape sequence at the start of p, behind its
// backslash, stands for. Surrogates are not for this fast way.
func unescape(text, p []byte) (grown, rest []byte, ok bool) {
	if len(p) == 0 {
		return nil, nil, false
	}
	switch p[0] {
	case 'n':
		return append(text, '\n'), p[1:], true
	case 'r':
		return append(text, '\r'), p[1:], true
	case 't':
		return append(text, '\t'), p[1:], true
	case '"', '\\':
		return append(text, p[0]), p[1:], true
	case 'u':
	default:
		return nil, nil, false
	}
	if len(p) < 5 {
		return nil, nil, false
	}
	var r rune
	for _, c := range p[1:5] {
		digit := bytes.IndexByte([]byte(hexDigits), c)
		if digit < 0 {
			return nil, nil, false
		}
		r = r<<4 | rune(digit)
	}
	if !utf8.ValidRune(r) {
		return nil, nil, false
	}
	return utf8.AppendRune(text, r), p[5:], true
}
