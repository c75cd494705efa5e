package p2p

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// keyOf is a key that is the same each time.
func keyOf(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func publicOf(b byte) ed25519.PublicKey { return keyOf(b).Public().(ed25519.PublicKey) }

// renewal is one from key b-1 to key b, unless keys are named.
func renewal(t testing.TB, number uint64, keys ...byte) []byte {
	t.Helper()
	from, to := byte(number), byte(number+1)
	if len(keys) == 2 {
		from, to = keys[0], keys[1]
	}
	b, err := Renewal{Number: number, Incarnation: 7, Old: publicOf(from), New: publicOf(to)}.Sign(keyOf(from))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// under is the cluster of keyOf(1) after so many renewals.
func under(t testing.TB, n int) *Cluster {
	t.Helper()
	c := &Cluster{Name: "test", Incarnation: 7, Key: publicOf(1)}
	for i := range n {
		next, err := c.Follow([][]byte{renewal(t, uint64(i+1))})
		if err != nil || next == c {
			t.Fatalf("renewal %d is not followed: %v", i+1, err)
		}
		c = next
	}
	return c
}

// What goes on disk and between peers.
func TestRenewal_Golden(t *testing.T) {
	const want = "82584784010758208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c58208139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394" +
		"584037b2bb92184f0a738eda9fcaaaa145f8c0ab7045a5fd47347bcadb3199f14b0a0e1054b96096e7978baebfc9d8d735217c74a08cfe758043799e1f609285a20e"
	if got := hex.EncodeToString(renewal(t, 1)); got != want {
		t.Errorf("a renewal is %s", got)
	}
	c, id, data := newCluster(t)
	private, renewals, err := c.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.WithKey(private, renewals, id.ID, data.ID)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "cluster.json")
	if err := next.Save(file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(text, []byte("\n    \"renewals\": [\n        \"")) {
		t.Errorf("cluster.json is %s, %v", text, err)
	}
	again, err := LoadCluster(file)
	if err != nil || again.Number() != 1 || !again.Key.Equal(next.Key) || !again.formerly(c.Key) || again.formerly(next.Key) {
		t.Errorf("read again: %+v, %v", again, err)
	}
	if _, err := again.Verify(next.Certificate); err != nil {
		t.Error(err)
	}
	again.Renewals = [][]byte{renewal(t, 1)}
	if err := again.check(); err == nil {
		t.Error("renewals that lead to another key pass")
	}
}

func TestCluster_FollowsRenewals(t *testing.T) {
	otherIncarnation, err := Renewal{Number: 1, Incarnation: 8, Old: publicOf(1), New: publicOf(9)}.Sign(keyOf(1))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := Renewal{Number: 1, Incarnation: 7, Old: publicOf(1), New: publicOf(9)}.Sign(keyOf(9))
	if err != nil {
		t.Fatal(err)
	}
	sure := under(t, 1)
	sure.Sure = 1
	r := func(n uint64, keys ...byte) []byte { return renewal(t, n, keys...) }
	for name, tc := range map[string]struct {
		of     *Cluster
		shown  [][]byte
		number uint64
		key    byte
		err    error
	}{
		"nothing":                           {under(t, 0), nil, 0, 1, nil},
		"one":                               {under(t, 0), [][]byte{r(1)}, 1, 2, nil},
		"several":                           {under(t, 0), [][]byte{r(1), r(2), r(3)}, 3, 4, nil},
		"those that are known, and more":    {under(t, 2), [][]byte{r(1), r(2), r(3)}, 3, 4, nil},
		"those that are known":              {under(t, 2), [][]byte{r(1), r(2)}, 2, 3, nil},
		"a gap":                             {under(t, 0), [][]byte{r(2)}, 0, 1, nil},
		"another cluster's":                 {under(t, 0), [][]byte{r(1, 5, 6)}, 0, 1, nil},
		"of another incarnation":            {under(t, 0), [][]byte{otherIncarnation}, 0, 1, nil},
		"signed by somebody":                {under(t, 0), [][]byte{forged}, 0, 1, ErrDenied},
		"to the same key":                   {under(t, 0), [][]byte{r(1, 1, 1)}, 0, 1, ErrDenied},
		"no renewal":                        {under(t, 0), [][]byte{{1, 2, 3}}, 0, 1, ErrDenied},
		"another than the one known":        {under(t, 1), [][]byte{r(1, 1, 9)}, 1, 2, &Contradiction{}},
		"two of one number":                 {under(t, 0), [][]byte{r(1), r(1, 1, 9)}, 1, 2, &Contradiction{}},
		"another than what is beyond doubt": {sure, [][]byte{r(1, 1, 9), r(2)}, 2, 3, nil},
		"too many":                          {under(t, 0), make([][]byte, maxRenewals+1), 0, 1, ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			now, err := tc.of.Follow(tc.shown)
			var c *Contradiction
			if _, want := tc.err.(*Contradiction); want != errors.As(err, &c) || !want && !errors.Is(err, tc.err) {
				t.Errorf("got %v, want %v", err, tc.err)
			}
			if now.Number() != tc.number || !now.Key.Equal(publicOf(tc.key)) {
				t.Errorf("at number %d, want %d", now.Number(), tc.number)
			}
		})
	}
	if long := under(t, maxRenewals+3); len(long.Renewals) != maxRenewals || long.Number() != maxRenewals+3 || long.formerly(publicOf(1)) {
		t.Errorf("%d renewals are kept, number %d", len(long.Renewals), long.Number())
	}
	if c := under(t, 3); !LeadTo(c.Renewals, publicOf(1), c.Key) || !LeadTo(nil, c.Key, c.Key) || LeadTo(c.Renewals, publicOf(9), c.Key) || LeadTo(c.Renewals, publicOf(1), publicOf(9)) {
		t.Error("LeadTo is wrong about where renewals lead")
	}
}

func FuzzCluster_Follow(f *testing.F) {
	f.Add(renewal(f, 1), renewal(f, 2))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if c, _ := under(t, 1).Follow([][]byte{a, b}); !LeadTo(c.Renewals, publicOf(1), c.Key) {
			t.Errorf("at number %d nothing leads to the key", c.Number())
		}
	})
}

func TestVerifier_GoesByTheNewKey(t *testing.T) {
	c, _, data := newCluster(t)
	id := newIdentity(t)
	say := func(c *Cluster) []byte {
		cert, err := c.Certify(id.ID, data.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := SignStatement(id, cert, "test 1", nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	next := renewed(t, c, id, data)
	v := NewVerifier(c.Key, c.Incarnation)
	was, is := say(c), say(next)
	check := func(when string, good, bad []byte) {
		t.Helper()
		if _, err := v.Open(good); err != nil {
			t.Errorf("%s: %v", when, err)
		}
		if _, err := v.Open(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%s, with the other key: %v, want ErrKey", when, err)
		}
	}
	check("before", was, is)
	v.Renew(next.Key)
	check("after", is, was)
}

func renewed(t testing.TB, c *Cluster, id, data Identity) *Cluster {
	t.Helper()
	private, renewals, err := c.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.WithKey(private, renewals, id.ID, data.ID)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// Three members: one goes by the new key, one was away, and a thief has the old key.
func TestMembers_CountCertificatesOfTheOldKey(t *testing.T) {
	c := newTestCluster(t)
	aID, bID := newIdentity(t), newIdentity(t)
	aData, bData := newIdentity(t), newIdentity(t)
	a := c.host(aID, c.certified(aID.ID, aData.ID), Options{})
	b := c.host(bID, c.certified(bID.ID, bData.ID), Options{})
	for _, h := range []*Host{a, b} {
		l, err := h.Listen(echoProtocol)
		serveEcho(t, l, err)
	}
	thief := c.member()
	connect(t, thief, a)
	if err := echo(t.Context(), thief, a.ID(), echoProtocol); err != nil {
		t.Fatal(err)
	}
	connect(t, b, a)
	if err := echo(t.Context(), b, a.ID(), echoProtocol); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.listed[aID.ID], c.listed[bID.ID] = aData.ID, bData.ID
	c.mu.Unlock()

	next := renewed(t, c.founder, aID, aData)
	a.Renew(next)
	if err := echo(t.Context(), b, a.ID(), echoProtocol); err != nil {
		t.Errorf("the connection of one that the log names: %v", err)
	}
	eventually(t, "the thief to be cut off", func() bool { return !a.isMember(thief.ID()) })
	for name, h := range map[string]*Host{"the thief": thief, "one that it certifies": c.member()} {
		connect(t, h, a)
		if err := echo(t.Context(), h, a.ID(), echoProtocol); err == nil {
			t.Errorf("%s gets through", name)
		}
	}
	// The log names a with its own data host: nobody else's passes for it.
	if _, err := a.verify(next, c.certified(aID.ID, thief.ID()).Certificate); !errors.Is(err, ErrDenied) {
		t.Errorf("a member's old certificate with another data host: %v", err)
	}

	// One that was away, and has not connected since, hears of members by the renewals.
	away := c.member()
	l, err := away.Listen(echoProtocol)
	serveEcho(t, l, err)
	connect(t, a, away)
	if err := echo(t.Context(), a, away.ID(), echoProtocol); err != nil {
		t.Errorf("who was away refuses a member: %v", err)
	}
	if !away.current().Key.Equal(c.founder.Key) {
		t.Error("who was away goes by what it was shown, not by its log")
	}
	other := newTestCluster(t)
	other.secret = c.secret
	foreign := other.member()
	connect(t, foreign, away)
	if err := away.Check(t.Context(), foreign.ID()); !errors.Is(err, ErrDenied) {
		t.Error("a member of another cluster gets through")
	}
}
