// The works of the table, done by Go: one of them for each run, by the names of works.rs. Prints the nanoseconds (for "parked" the bytes) of one time.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// As in run.rs.
const (
	burst      = 2_000
	messages   = 80_000
	roundTrips = 20_000
	locks      = 100_000
	tasks      = 1_000
	yields     = 100_000
	parked     = 100_000
	warmUp     = 20 * time.Millisecond
	measured   = 100 * time.Millisecond
)

// perTime gives the nanoseconds of one of the times that batch does something: the median over as many batches as fit.
func perTime(times int, batch func()) float64 {
	var took []float64
	begin := time.Now()
	for time.Since(begin) < warmUp+measured || len(took) < 3 {
		before := time.Now()
		batch()
		nanos := float64(time.Since(before).Nanoseconds()) / float64(times)
		if time.Since(begin) >= warmUp {
			took = append(took, nanos)
		}
	}
	sort.Float64s(took)
	return took[len(took)/2]
}

func mutex() float64 {
	var till sync.Mutex
	var money int
	return perTime(burst, func() {
		for range burst {
			till.Lock()
			money++
			till.Unlock()
		}
	})
}

func mutex4() float64 {
	var till sync.Mutex
	var money int
	return perTime(locks, func() {
		var all sync.WaitGroup
		for range 4 {
			all.Add(1)
			go func() {
				for range locks / 4 {
					till.Lock()
					money++
					till.Unlock()
				}
				all.Done()
			}()
		}
		all.Wait()
	})
}

func spawn() float64 {
	var ovens sync.WaitGroup
	return perTime(tasks, func() {
		for range tasks {
			ovens.Add(1)
			go func() { ovens.Done() }()
		}
		ovens.Wait()
	})
}

func spawnOne() float64 {
	var ovens sync.WaitGroup
	return perTime(tasks, func() {
		for range tasks {
			ovens.Add(1)
			go func() { ovens.Done() }()
			ovens.Wait()
		}
	})
}

func rendezvous() float64 {
	return perTime(roundTrips, func() {
		there, back := make(chan int), make(chan int)
		var all sync.WaitGroup
		all.Add(2)
		go func() {
			for ball := range roundTrips {
				there <- ball
				<-back
			}
			close(there)
			all.Done()
		}()
		go func() {
			for ball := range there {
				back <- ball
			}
			all.Done()
		}()
		all.Wait()
	})
}

func bounded(pairs int) float64 {
	return perTime(messages, func() {
		queue := make(chan int, 128)
		var senders, receivers sync.WaitGroup
		for range pairs {
			senders.Add(1)
			go func() {
				for message := range messages / pairs {
					queue <- message
				}
				senders.Done()
			}()
		}
		for range pairs {
			receivers.Add(1)
			go func() {
				for range queue {
				}
				receivers.Done()
			}()
		}
		senders.Wait()
		close(queue)
		receivers.Wait()
	})
}

func switches() float64 {
	return perTime(yields, func() {
		var all sync.WaitGroup
		for range 2 {
			all.Add(1)
			go func() {
				for range yields / 2 {
					runtime.Gosched()
				}
				all.Done()
			}()
		}
		all.Wait()
	})
}

func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	_, line, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil {
		panic(err)
	}
	return kib * 1024
}

func parkedBytes() float64 {
	gate := make(chan struct{})
	var there atomic.Int64
	before := resident()
	for range parked {
		go func() {
			there.Add(1)
			<-gate
		}()
	}
	for there.Load() < parked {
		runtime.Gosched()
	}
	bytes := resident() - before
	close(gate)
	return float64(bytes) / parked
}

// onOne runs a work on one processor, as the prelude under workers(1).
func onOne(work func() float64) func() float64 {
	return func() float64 {
		runtime.GOMAXPROCS(1)
		return work()
	}
}

func main() {
	works := map[string]func() float64{
		"mutex":        mutex,
		"mutex-4":      mutex4,
		"spawn":        spawn,
		"spawn-one":    spawnOne,
		"rendezvous":   rendezvous,
		"rendezvous-1": onOne(rendezvous),
		"bounded":      func() float64 { return bounded(1) },
		"bounded-1":    onOne(func() float64 { return bounded(1) }),
		"bounded-4x4":  func() float64 { return bounded(4) },
		"switch":       onOne(switches),
		"parked":       parkedBytes,
	}
	work, known := works[os.Args[1]]
	if !known {
		fmt.Fprintln(os.Stderr, "no such work:", os.Args[1])
		os.Exit(1)
	}
	fmt.Println(work())
}
