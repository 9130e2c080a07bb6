// Franz-go as a member of a group, until the file JOURNAL.stop appears.
//
//	member BOOTSTRAP GROUP TOPIC STYLE JOURNAL
//
// STYLE is `eager`, `cooperative` or `consumer` (KIP-848). groups/journal.py says what the journal holds.
package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

type member struct {
	topic string
	// Callbacks come from a goroutine of the client's.
	mu      sync.Mutex
	journal *os.File
	// What was handled and whose commit was not acknowledged yet: partition and next offset.
	pending map[int32]int64
}

func main() {
	if len(os.Args) != 6 {
		fatal(errors.New("usage: member BOOTSTRAP GROUP TOPIC STYLE JOURNAL"))
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func run(bootstrap, group, topic, style, path string) error {
	journal, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	m := &member{topic: topic, journal: journal, pending: map[int32]int64{}}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			m.change("assigned", given[topic])
		}),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, taken map[string][]int32) {
			if err := m.commit(ctx, client, taken[topic]); err != nil {
				fmt.Fprintln(os.Stderr, "a commit before a revocation failed:", err)
			}
			m.change("revoked", taken[topic])
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) {
			m.change("lost", taken[topic])
		}),
	}
	switch style {
	case "eager":
		options = append(options, kgo.Balancers(kgo.RangeBalancer()))
	case "cooperative":
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	case "consumer":
		options = append(options, kgo.Balancers(kgo.StickyBalancer()), kgo.ServerSideBalancer())
	default:
		return fmt.Errorf("no such style: %s", style)
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return err
	}
	for !exists(path + ".stop") {
		if err := m.step(client); err != nil {
			return err
		}
	}
	client.CloseAllowingRebalance()
	return nil
}

// step handles at most 50 records and commits them, while nothing is revoked.
func (m *member) step(client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	fetches := client.PollRecords(ctx, 50)
	defer client.AllowRebalance()
	for _, failure := range fetches.Errors() {
		if !errors.Is(failure.Err, context.DeadlineExceeded) {
			return failure.Err
		}
	}
	fetches.EachRecord(func(record *kgo.Record) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.write(fmt.Sprintf("record %d %d", record.Partition, record.Offset))
		m.pending[record.Partition] = record.Offset + 1
	})
	m.mu.Lock()
	everything := slices.Collect(maps.Keys(m.pending))
	m.mu.Unlock()
	// A commit that a rebalance overtook is repeated after it, for what is still this member's.
	if err := m.commit(context.Background(), client, everything); err != nil && !overtaken(err) {
		return err
	}
	return nil
}

func overtaken(err error) bool {
	for _, known := range []error{kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.StaleMemberEpoch} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// commit commits what is pending of these partitions, and notes what was acknowledged.
func (m *member) commit(ctx context.Context, client *kgo.Client, partitions []int32) error {
	m.mu.Lock()
	offsets := map[int32]kgo.EpochOffset{}
	var rows []string
	for _, partition := range partitions {
		if offset, found := m.pending[partition]; found {
			offsets[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
			rows = append(rows, fmt.Sprintf("committing %d %d", partition, offset))
		}
	}
	m.write(rows...)
	m.mu.Unlock()
	if len(offsets) == 0 {
		return nil
	}
	var failure error
	client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{m.topic: offsets},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			if err != nil {
				failure = err
				return
			}
			for _, topic := range answer.Topics {
				for _, partition := range topic.Partitions {
					if err := kerr.ErrorForCode(partition.ErrorCode); err != nil {
						failure = errors.Join(failure, err)
						continue
					}
					m.acknowledged(partition.Partition, offsets[partition.Partition].Offset)
				}
			}
		})
	return failure
}

func (m *member) acknowledged(partition int32, offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write(fmt.Sprintf("committed %d %d", partition, offset))
	if m.pending[partition] == offset {
		delete(m.pending, partition)
	}
}

// change notes partitions that came or went.
func (m *member) change(event string, partitions []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var rows []string
	for _, partition := range partitions {
		delete(m.pending, partition)
		rows = append(rows, fmt.Sprintf("%s %d", event, partition))
	}
	m.write(rows...)
}

// write hands lines to the kernel, which keeps them when this process is killed.
func (m *member) write(rows ...string) {
	if len(rows) == 0 {
		return
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		fatal(err)
	}
	var text strings.Builder
	for _, row := range rows {
		fmt.Fprintf(&text, "%d %s\n", now.Nano(), row)
	}
	if _, err := m.journal.WriteString(text.String()); err != nil {
		fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
