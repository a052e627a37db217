package ps

import (
	"slices"
	"strings"

	"github.com/containerd/errdefs"
)

// Format is what ps's options ask for.
type Format struct{ columns []column }

// known is what an error says of what is there.
const known = "it knows -e, -f, -F, -l, -j, -o, -O, and BSD's a, x, u, l, j, o"

// layouts are ps's own sets of columns, by the letter that asks for them;
// letters of BSD's options, which stand without a dash, have a dot before them.
func layouts() map[string]string {
	return map[string]string{
		"":   "pid,tty,time,ucmd",
		"f":  "user=UID,pid,ppid,c,stime,tty,time,cmd",
		"F":  "user=UID,pid,ppid,c,sz,rss,psr,stime,tty,time,cmd",
		"l":  "f,s,uid,pid,ppid,c,pri,ni,sz,tty,time,ucmd",
		"j":  "pid,pgid,sid,tty,time,ucmd",
		".":  "pid,tty,stat,bsdtime,args",
		".u": "user,pid,%cpu,%mem,vsz,rss,tty,stat,start_time,bsdtime,args",
		".l": "f,uid,pid,ppid,pri,ni,vsz,rss,stat,tty,bsdtime,args",
		".j": "ppid,pid,pgid,sid,tty,tpgid,stat,uid,bsdtime,args",
	}
}

// ParseFormat reads ps's options, separated by blanks: those that select
// processes change nothing, for all of them are shown. "" stands for "-ef". An
// error has the kind errdefs.ErrInvalidArgument.
func ParseFormat(options string) (Format, error) {
	if strings.TrimSpace(options) == "" {
		options = "-ef"
	}
	p := parser{words: strings.Fields(options)}
	for len(p.words) > 0 {
		if err := p.word(p.next()); err != nil {
			return Format{}, err
		}
	}
	columns := p.own
	if len(columns) == 0 {
		var err error
		if columns, err = parseColumns(layouts()[p.layout]); err != nil {
			return Format{}, err
		}
	}
	if len(p.added) > 0 { // after the PID, as ps has it
		columns = slices.Insert(columns, 1, p.added...)
	}
	if !slices.ContainsFunc(columns, func(c column) bool { return c.title == "PID" && c.show == nil }) {
		return Format{}, errdefs.ErrInvalidArgument.WithMessage("Couldn't find PID field in ps output")
	}
	return Format{columns}, nil
}

// parser goes through the words.
type parser struct {
	words  []string
	layout string
	own    []column // by -o
	added  []column // by -O
}

func (p *parser) next() string {
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *parser) word(w string) error {
	if list, ok := strings.CutPrefix(w, "--format"); ok {
		return p.columns(&p.own, strings.TrimPrefix(list, "="))
	}
	letters, dash := strings.CutPrefix(w, "-")
	prefix := "."
	if dash {
		prefix = ""
	} else if p.layout == "" {
		p.layout = "." // BSD's options have a default of their own
	}
	for i, letter := range letters {
		rest := letters[i+1:]
		switch {
		case letter == 'o':
			return p.columns(&p.own, rest)
		case letter == 'O' && dash:
			p.layout = ""
			return p.columns(&p.added, rest)
		case dash && strings.ContainsRune("eAadw", letter), !dash && strings.ContainsRune("axw", letter):
		default:
			layout := prefix + string(letter)
			if _, ok := layouts()[layout]; !ok {
				return unknown("option", w)
			}
			p.layout = layout
		}
	}
	return nil
}

// columns reads a list from the rest of a word, or from the next one.
func (p *parser) columns(into *[]column, list string) error {
	if list == "" {
		if len(p.words) == 0 {
			return errdefs.ErrInvalidArgument.WithMessage("ps's option for a format needs a list of columns, as in -o pid,args")
		}
		list = p.next()
	}
	columns, err := parseColumns(list)
	*into = append(*into, columns...)
	return err
}

// parseColumns reads "name,name=TITLE"; a title goes to the end of its name's.
func parseColumns(list string) ([]column, error) {
	all := specifiers()
	all["bsdtime"] = column{"TIME", text(shortTime)}
	var columns []column
	for _, word := range strings.Split(list, ",") {
		name, title, titled := strings.Cut(word, "=")
		c, ok := all[strings.ToLower(name)]
		if !ok {
			return nil, unknown("column", name)
		}
		if titled && c.show == nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage("specifying \"" + word + "\" is not allowed")
		}
		if titled {
			c.title = title
		}
		columns = append(columns, c)
	}
	return columns, nil
}

func unknown(what, word string) error {
	return errdefs.ErrInvalidArgument.WithMessage("the engine shows processes itself and does not know ps's " + what + " \"" + word + "\": " + known)
}
