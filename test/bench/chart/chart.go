// Package chart draws figures as horizontal bars in an SVG image: groups of
// bars, each group with a scale of its own and perhaps a limit. It is a pure
// function of its input and knows nothing of what is measured.
package chart

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Group is bars that are compared.
type Group struct {
	Title string
	Unit  string // "ms"
	Bars  []Bar
}

// Bar is one figure.
type Bar struct {
	Label string
	Value float64 // not negative
	Peer  bool    // somebody else's, drawn paler
	Limit float64 // what was promised, a line across the bar; 0: nothing
}

// The image's measures, in pixels.
const (
	width    = 760
	margin   = 16
	labels   = 300 // the column of labels
	figures  = 90  // that of the figures at the bars' ends
	row      = 22
	bar      = 14
	titleGap = 30
	groupGap = 18
)

const style = `<style>
  .bench { font: 13px system-ui, sans-serif; fill: #3b4252 }
  .bench .title { font-weight: 600 }
  .bench .ours { fill: #2f6f9f }
  .bench .peer { fill: #b4bcc8 }
  .bench .limit { stroke: #c2410c; stroke-width: 2 }
  @media (prefers-color-scheme: dark) { .bench { fill: #d8dee9 } .bench .peer { fill: #6b7686 } }
</style>
`

// Draw gives the image. Groups without bars are left out.
func Draw(groups []Group) string {
	var b strings.Builder
	y := margin
	for _, g := range groups {
		if len(g.Bars) > 0 {
			y = g.draw(&b, y)
		}
	}
	height := y - groupGap + margin
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" class="bench" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, max(height, 2*margin), width, max(height, 2*margin)) +
		style + b.String() + "</svg>\n"
}

// draw writes the group from y on and gives the y of the next one.
func (g Group) draw(b *strings.Builder, y int) int {
	fmt.Fprintf(b, `<text class="title" x="%d" y="%d">%s</text>`+"\n", margin, y+bar, html.EscapeString(g.Title))
	y += titleGap
	scale := g.scale()
	left := margin + labels
	for _, each := range g.Bars {
		class := "ours"
		if each.Peer {
			class = "peer"
		}
		length := each.Value * scale
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+bar-2, html.EscapeString(each.Label))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, class, left, y, math.Max(length, 1), bar)
		end := length
		if each.Limit > 0 {
			x := float64(left) + each.Limit*scale
			fmt.Fprintf(b, `<line class="limit" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x, x, y-2, y+bar+2)
			end = math.Max(end, each.Limit*scale)
		}
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%s %s</text>`+"\n", float64(left)+end+8, y+bar-2, number(each.Value), html.EscapeString(g.Unit))
		y += row
	}
	return y + groupGap
}

// scale is pixels for each unit, such that the longest bar and limit fit.
func (g Group) scale() float64 {
	longest := 0.0
	for _, b := range g.Bars {
		longest = math.Max(longest, math.Max(b.Value, b.Limit))
	}
	if longest == 0 {
		return 0
	}
	return float64(width-2*margin-labels-figures) / longest
}

// number writes a figure with as many digits as anybody reads.
func number(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
