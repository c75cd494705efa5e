package rest

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pinfold-cluster/pinfold/api"
	"github.com/pinfold-cluster/pinfold/api/apitest"
)

func benchServer(b *testing.B, c *cluster) string {
	b.Helper()
	s := httptest.NewServer(c.handler())
	b.Cleanup(s.Close)
	return s.URL
}

// One pin over HTTP, beside a handler that does nothing.
func BenchmarkPin(b *testing.B) {
	nothing := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer nothing.Close()
	for name, url := range map[string]string{"nothing": nothing.URL, "pin": benchServer(b, &cluster{}) + "/pins/" + cid1 + "?replication=2"} {
		b.Run(name, func(b *testing.B) {
			tr := &http.Transport{MaxIdleConnsPerHost: 64}
			defer tr.CloseIdleConnections()
			b.SetParallelism(16)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					res, err := (&http.Client{Transport: tr}).Post(url, "", nil)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, res.Body); err != nil {
						b.Fatal(err)
					}
					res.Body.Close()
				}
			})
		})
	}
}

// The pin handler alone, without HTTP.
func BenchmarkPinHandler(b *testing.B) {
	h := (&cluster{}).handler()
	r := httptest.NewRequest("POST", "/pins/"+cid1+"?replication=2", nil)
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(discard{http.Header{}}, r)
	}
}

type discard struct{ h http.Header }

func (d discard) Header() http.Header         { return d.h }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

func BenchmarkAllocations(b *testing.B) {
	pin := api.Pin{PinOptions: api.PinOptions{ReplicationFactorMin: 2, ReplicationFactorMax: 3, Name: "a file"}, Type: api.PinData,
		Allocations: []api.PeerID{apitest.PeerID(b, p0), apitest.PeerID(b, p1)}, MaxDepth: -1, Timestamp: time.Unix(1795218285, 0)}
	for name, id := range map[string]string{"v0": cid0, "v1": cid1} {
		pin.Cid = apitest.Cid(b, id)
		p := pin
		b.Run(name, func(b *testing.B) {
			c := &cluster{all: func(yield func(api.Pin, error) bool) {
				for range b.N {
					if !yield(p, nil) {
						return
					}
				}
			}}
			url := benchServer(b, c)
			b.ResetTimer()
			res, err := http.Get(url + "/allocations")
			if err != nil {
				b.Fatal(err)
			}
			defer res.Body.Close()
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func BenchmarkStatuses(b *testing.B) {
	info := api.GlobalPinInfo{Cid: apitest.Cid(b, cid1), Name: "a file", Allocations: []api.PeerID{apitest.PeerID(b, p0), apitest.PeerID(b, p1)}, Created: time.Unix(1795218285, 0),
		PeerMap: map[string]api.PinInfoShort{}}
	for i := range 3 {
		info.PeerMap[fmt.Sprint(p0, i)] = api.PinInfoShort{PeerName: "peer", IPFS: apitest.PeerID(b, p1), Status: api.StatusPinned, Timestamp: time.Unix(1795218285, 0)}
	}
	c := &cluster{list: func(api.TrackerStatus) iter.Seq2[api.GlobalPinInfo, error] {
		return func(yield func(api.GlobalPinInfo, error) bool) {
			for range b.N {
				if !yield(info, nil) {
					return
				}
			}
		}
	}}
	url := benchServer(b, c)
	b.ResetTimer()
	res, err := http.Get(url + "/pins")
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkBulk(b *testing.B) {
	line := []byte(`{"cid":"` + cid1 + `","name":"a file","replication_factor_min":2,"replication_factor_max":3}` + "\n")
	url := benchServer(b, &cluster{pinMany: accept(nil)})
	b.SetBytes(int64(len(line)))
	b.ResetTimer()
	res, err := http.Post(url+"/pins", "", io.MultiReader(bytes.NewReader(bytes.Repeat(line, b.N))))
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		b.Fatal(err)
	}
}
