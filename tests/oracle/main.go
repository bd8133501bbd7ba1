// The oracle answers what robfig/cron v3 makes of a schedule.
//
// It reads one question per line from standard input and writes one answer per line to standard output, both
// JSON. Zone data come from the directory named by ZONEINFO if that is set, so that both sides of a comparison
// can use the same; the embedded copy is the fallback.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

// question asks for the time that follows each of Afters.
type question struct {
	Spec   string  `json:"spec"`
	Zone   string  `json:"zone"`
	Afters []int64 `json:"afters"`
}

// answer holds one Unix time per question's After, null for never, or why the spec was refused.
type answer struct {
	Error string   `json:"error,omitempty"`
	Nexts []*int64 `json:"nexts,omitempty"`
}

var parser = cron.NewParser(
	cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor,
)

// patience is far more than any of the questions takes.
const patience = 30 * time.Second

func ask(q question) (answer, error) {
	zone, err := time.LoadLocation(q.Zone)
	if err != nil {
		return answer{}, err
	}
	schedule, err := parser.Parse(q.Spec)
	if err != nil {
		return answer{Error: err.Error()}, nil
	}
	// robfig can spin for ever, for one where a zone left out a whole day: say so instead of hanging.
	watchdog := time.AfterFunc(patience, func() {
		fmt.Fprintf(os.Stderr, "oracle: no answer to %+v within %s\n", q, patience)
		os.Exit(1)
	})
	defer watchdog.Stop()
	nexts := make([]*int64, 0, len(q.Afters))
	for _, after := range q.Afters {
		next := schedule.Next(time.Unix(after, 0).In(zone))
		if next.IsZero() {
			nexts = append(nexts, nil)
			continue
		}
		unix := next.Unix()
		nexts = append(nexts, &unix)
	}
	return answer{Nexts: nexts}, nil
}

func run() error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			return err
		}
		a, err := ask(q)
		if err != nil {
			return err
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	if err := in.Err(); err != nil {
		return err
	}
	return out.Flush()
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}
