package config

import "strings"

// nearest gives the known key that is the fewest edits away from where. The last part
// counts most: people misspell a name more often than they misplace it.
func nearest(where string, known []key) string {
	best, bestCost := "", 1<<30
	last := where[strings.LastIndex(where, ".")+1:]
	for _, k := range known {
		s := k.String()
		cost := 2*edits(last, k.path[len(k.path)-1]) + edits(where, s)
		if cost < bestCost {
			best, bestCost = s, cost
		}
	}
	return best
}

// edits is the Levenshtein distance.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
