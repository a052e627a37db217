// Package logfile is docker's json-file log: one JSON object a line,
//
//	{"log":"text\n","stream":"stdout","time":"2026-11-20T16:25:00.000000001Z"}
//
// The shim writes it, the engine reads it, and so does every tool that knows
// docker's files. Text longer than 16 KiB without a newline becomes several
// entries, of which only the last ends in "\n"; bytes that are not UTF-8
// become U+FFFD. When the file has reached its size it is renamed to x.log.1,
// that one to x.log.2, and so on.
//
// It knows nothing of containers.
package logfile

import "time"

// maxText is the length in bytes at which docker splits a line.
const maxText = 16 << 10

// maxEntry bounds an encoded entry in bytes: every byte of text may take six.
// What is longer is no entry.
const maxEntry = 6*maxText + 1024

// Line is one entry of a log: a line of output with its newline, or a part of
// a line that was too long or never ended.
type Line struct {
	Stream string // "stdout" or "stderr"
	Time   time.Time
	Data   []byte
}
