package feed

import (
	"math/rand/v2"
	"time"
)

// Members are few and everybody knows them. A follower asks one for a place when it starts
// and when it lost one. Where it was told that there is none, it asks again after a long
// time, be it away in between; sooner only where its neighbours do not help.
const (
	// VisitEvery is how often one without a place asks for one where it wants for nothing,
	// give or take an eighth. Members keep what followers claim for longer.
	VisitEvery = 40 * time.Hour
	// For what it wants, it asks at growing intervals: first when it has wanted it for the
	// shortest.
	wantMin = 10 * time.Minute
	wantMax = 4 * time.Hour
	// lostWait is within which time those that a member has left come back.
	lostWait = 30 * time.Second
	// aloneFor is how long a follower looks for others that it knows before it calls a
	// member.
	aloneFor = 8 * time.Second
	// stuckAfter is how many times its patience a follower that does not get on waits for
	// its neighbours at least; at most stuckSpread times it more, lest all come at once
	// where a cluster has no leader.
	stuckAfter  = 4
	stuckSpread = 16
)

// visits say when a follower without a member among its neighbours is to call one.
type visits struct {
	next    time.Time
	refused time.Time // the last time; zero for never
	again   backoff   // while something is wanted

	patience time.Duration // of one that does not get on
	well     time.Time     // when the follower got on last,
	sated    time.Time     // and when it lacked no content
}

// newVisits begins at now with when the follower was refused last.
func newVisits(now, refused time.Time, patience time.Duration) visits {
	v := visits{patience: stuckAfter*patience + rand.N(stuckSpread*patience), well: now, sated: now}
	if !refused.IsZero() && refused.Before(now) {
		v.refused, v.next = refused, refused.Add(jitter(VisitEvery))
	}
	return v
}

// look notes how the follower is.
func (v *visits) look(now time.Time, getsOn, lacks bool) {
	if getsOn {
		v.well = now
	}
	if !lacks {
		v.sated = now
	}
	if getsOn && !lacks {
		v.again = backoff{}
	}
}

// due tells whether it is time.
func (v *visits) due(now time.Time) bool {
	wants := v.stuck(now) || now.Sub(v.sated) > wantMin
	return !now.Before(v.next) || wants && !now.Before(v.again.next)
}

// stuck tells whether the neighbours do not help.
func (v *visits) stuck(now time.Time) bool { return now.Sub(v.well) > v.patience }

// made notes that a member answered.
func (v *visits) made(now time.Time, admitted bool) {
	if admitted {
		v.refused, v.next, v.again = time.Time{}, time.Time{}, backoff{}
		return
	}
	v.refused, v.next = now, now.Add(jitter(VisitEvery))
	v.again.failed(wantMin, wantMax)
}

// lost notes that a member which was a neighbour is gone.
func (v *visits) lost(now time.Time) { v.next = now.Add(rand.N(lostWait)) }

// jitter is d, or somewhat less or more: an eighth at most.
func jitter(d time.Duration) time.Duration { return d*7/8 + rand.N(d/4) }
