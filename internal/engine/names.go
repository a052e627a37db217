package engine

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"

	"github.com/containerd/errdefs"
)

var adjectives = strings.Fields(`able agile amber ample ardent balmy bold brave breezy bright brisk calm candid
 careful cheerful civil clear clever cosy crisp curious daring deft eager earnest easy fair fearless fine
 fleet fond frank free fresh gentle glad golden good graceful grand happy hardy hearty honest humble jolly
 keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble patient placid plucky polite
 proud prudent quick quiet ready robust rustic serene sharp silent silver simple sincere sleek smart snug
 sober solid spry stable steady still stout sunny swift tender thrifty tidy upbeat valiant vivid warm wise witty zesty`)

var surnames = strings.Fields(`abel ampere archimedes babbage bernoulli bohr boole bose brahe cantor carson cavendish
 cerf chandrasekhar church clarke copernicus curie darwin descartes dijkstra dirac edison einstein elion euclid
 euler faraday fermat fermi feynman franklin galileo galois gauss germain goodall hamilton heisenberg herschel
 hilbert hopper hypatia jang jepsen johnson kepler khorana kilby knuth kovalevskaya lalande lamarr lamport
 laplace leakey leavitt leibniz liskov lovelace maxwell mayer mccarthy mclean meitner mendel mendeleev mirzakhani
 morse nash newton nobel noether noyce pascal pasteur payne perlman planck poincare ptolemy raman ramanujan
 ride ritchie rosalind rubin saha sammet shannon shirley sinoussi snyder spence tesla thompson torvalds turing
 varahamihira volta wescoff wiles wilson wozniak wright yalow yonath`)

// namePattern is docker's: what it accepts as a container's name.
var namePattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]+$`)

const maxName = 255

// checkName wants a name without its leading slash.
func checkName(name string) error {
	if len(name) > maxName {
		return failure(errdefs.ErrInvalidArgument, "invalid container name: it has %d characters, at most %d are allowed", len(name), maxName)
	}
	if !namePattern.MatchString(name) {
		return failure(errdefs.ErrInvalidArgument, "Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	return nil
}

// randomName draws a name such as "brisk_noether"; from the third try on, a
// number follows it.
func randomName(try int) string {
	name := pick(adjectives) + "_" + pick(surnames)
	if try >= 2 {
		name += fmt.Sprint(randomInt(1000))
	}
	return name
}

func pick(words []string) string { return words[randomInt(len(words))] }

func randomInt(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil { // crypto/rand ends the program rather than fail
		return 0
	}
	return int(i.Int64())
}

// newID draws a container's ID: 64 hexadecimal digits. One whose first twelve
// are all decimal is drawn again: the short ID is a host name, and such a one
// would look like a number.
func newID() string {
	for {
		b := make([]byte, 32)
		rand.Read(b)
		id := hex.EncodeToString(b)
		if strings.ContainsAny(id[:12], "abcdef") {
			return id
		}
	}
}
