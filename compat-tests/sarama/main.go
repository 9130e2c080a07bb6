// Sarama as a member of a group, until the file JOURNAL.stop appears.
//
//	member BOOTSTRAP GROUP TOPIC STYLE JOURNAL
//
// STYLE is `eager` or `cooperative`. groups/journal.py says what the journal holds; sarama tells of commits that failed,
// not of those that were acknowledged, so there are no lines `committed`.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"golang.org/x/sys/unix"
)

// Records of one partition between two commits.
const batch = 50

type member struct {
	mu      sync.Mutex
	journal *os.File
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
	config := sarama.NewConfig()
	config.Version = sarama.V4_0_0_0
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	config.Consumer.Return.Errors = true
	config.Consumer.Group.Session.Timeout = 6 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Metadata.RefreshFrequency = time.Second
	switch style {
	case "eager":
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	case "cooperative":
		config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyCooperativeSticky()}
	default:
		return fmt.Errorf("no such style: %s", style)
	}
	consumer, err := sarama.NewConsumerGroup([]string{bootstrap}, group, config)
	if err != nil {
		return err
	}
	go func() {
		for err := range consumer.Errors() {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for !exists(path + ".stop") {
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
	}()
	m := &member{journal: journal}
	for ctx.Err() == nil {
		// Returns at each rebalance of an eager group.
		if err := consumer.Consume(ctx, []string{topic}, m); err != nil {
			return err
		}
	}
	return consumer.Close()
}

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim runs for as long as a partition is this member's: the client lets go of it when this returns.
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	m.write("assigned %d", claim.Partition())
	defer m.write("revoked %d", claim.Partition())
	unsaved, next := 0, int64(0)
	save := func() {
		if unsaved > 0 {
			m.write("committing %d %d", claim.Partition(), next)
			session.Commit()
			unsaved = 0
		}
	}
	defer save()
	idle := time.NewTicker(100 * time.Millisecond)
	defer idle.Stop()
	for {
		select {
		case message, open := <-claim.Messages():
			// In an eager group the session's end comes first, and messages may still be queued then.
			if !open || session.Context().Err() != nil {
				return nil
			}
			m.write("record %d %d", message.Partition, message.Offset)
			session.MarkMessage(message, "")
			unsaved, next = unsaved+1, message.Offset+1
			if unsaved == batch {
				save()
			}
		case <-idle.C:
			save()
		case <-session.Context().Done():
			return nil
		}
	}
}

// write hands a line to the kernel, which keeps it when this process is killed.
func (m *member) write(row string, values ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		fatal(err)
	}
	if _, err := m.journal.WriteString(fmt.Sprintf("%d %s\n", now.Nano(), fmt.Sprintf(row, values...))); err != nil {
		fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
