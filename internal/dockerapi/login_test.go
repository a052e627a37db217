package dockerapi

import (
	"net/http"
	"strings"
	"testing"
)

func TestLogin(t *testing.T) {
	t.Parallel()
	f := &fake{}
	w := do(f, "POST", "/auth", `{"username":"me","password":"secret","serveraddress":"127.0.0.1:5000"}`)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"Status":"Login Succeeded"`) || f.last() != "login 127.0.0.1:5000 as me" {
		t.Errorf("%d %s after %q", w.Code, w.Body, f.last())
	}
	if w := do(f, "POST", "/auth", `{"username":"me","password":"wrong"}`); w.Code != http.StatusUnauthorized {
		t.Errorf("a wrong password: %d %s", w.Code, w.Body)
	}
	for _, body := range []string{`{`, `"x"`, `{"username":"` + strings.Repeat("x", maxAuth) + `"}`} {
		if w := do(f, "POST", "/auth", body); w.Code != http.StatusBadRequest && w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%.20s: %d %s", body, w.Code, w.Body)
		}
	}
}
