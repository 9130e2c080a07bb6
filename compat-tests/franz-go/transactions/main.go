// Franz-go with transactions; transactions/programs.py says what this program obeys.
//
// Offsets from outside a group cannot be put into a transaction with this client, so the command `offsets` is not here.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

type program struct {
	bootstrap string
	producers map[string]*kgo.Client
}

func main() {
	if len(os.Args) < 2 {
		fatal(errors.New("usage: transactions BOOTSTRAP [copy GROUP INPUT OUTPUT TRANSACTIONAL_ID SIZE STOP]"))
	}
	p := &program{bootstrap: os.Args[1], producers: map[string]*kgo.Client{}}
	if len(os.Args) == 9 {
		if err := p.copy(os.Args[3], os.Args[4], os.Args[5], os.Args[6], number(os.Args[7]), os.Args[8]); err != nil {
			fatal(err)
		}
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		value, err := p.obey(strings.Fields(lines.Text()))
		if err != nil {
			fmt.Println("error", name(err), strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println(strings.TrimSpace("ok " + value))
	}
	// Clients are not closed: that would end their transactions.
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// name is the client's own name of an error.
func name(err error) string {
	var known *kerr.Error
	if errors.As(err, &known) {
		return known.Message
	}
	return fmt.Sprintf("%T", err)
}

func number(word string) int {
	value, err := strconv.Atoi(word)
	if err != nil {
		fatal(err)
	}
	return value
}

func (p *program) obey(words []string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	switch words[0] {
	case "init":
		client, err := kgo.NewClient(p.transactional(words[2], time.Duration(number(words[3]))*time.Millisecond)...)
		if err != nil {
			return "", err
		}
		p.producers[words[1]] = client
		_, _, err = client.ProducerID(ctx)
		return "", err
	case "begin":
		return "", p.producers[words[1]].BeginTransaction()
	case "send":
		records, err := rows(words[2], number(words[3]), words[4], number(words[5]), number(words[6]))
		if err != nil {
			return "", err
		}
		return "", p.producers[words[1]].ProduceSync(ctx, records...).FirstErr()
	case "commit":
		return "", p.producers[words[1]].EndTransaction(ctx, kgo.TryCommit)
	case "abort":
		return "", p.producers[words[1]].EndTransaction(ctx, kgo.TryAbort)
	case "read":
		return "", p.read(words[1], number(words[2]), words[3], number(words[4]), words[5])
	case "ends":
		return p.ends(ctx, words[1], number(words[2]), words[3])
	}
	return "", fmt.Errorf("no such command: %v", words)
}

func (p *program) transactional(id string, timeout time.Duration) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(p.bootstrap),
		kgo.TransactionalID(id),
		kgo.TransactionTimeout(timeout),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
}

func rows(topic string, partition int, path string, first, count int) ([]*kgo.Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var records []*kgo.Record
	lines := bufio.NewScanner(file)
	for at := 0; lines.Scan() && at < first+count; at++ {
		if at < first {
			continue
		}
		columns := strings.SplitN(lines.Text(), "\t", 3)
		records = append(records, &kgo.Record{
			Topic: topic, Partition: int32(partition), Timestamp: time.UnixMilli(int64(number(columns[0]))),
			Key: []byte(columns[1]), Value: []byte(columns[2]),
		})
	}
	return records, lines.Err()
}

func level(isolation string) kgo.IsolationLevel {
	if isolation == "read_committed" {
		return kgo.ReadCommitted()
	}
	return kgo.ReadUncommitted()
}

func (p *program) read(topic string, partitions int, isolation string, wanted int, directory string) error {
	places := map[int32]kgo.Offset{}
	files := make([]*bufio.Writer, partitions)
	for partition := range files {
		places[int32(partition)] = kgo.NewOffset().AtStart()
		file, err := os.Create(filepath.Join(directory, fmt.Sprintf("%d.tsv", partition)))
		if err != nil {
			return err
		}
		defer file.Close()
		files[partition] = bufio.NewWriter(file)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(p.bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: places}),
		kgo.FetchIsolationLevel(level(isolation)),
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	giveUp, enough := time.Now().Add(30*time.Second), time.Time{}
	for got := 0; time.Now().Before(giveUp) && (enough.IsZero() || time.Now().Before(enough)); {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		fetches := client.PollFetches(ctx)
		cancel()
		for _, failure := range fetches.Errors() {
			if !errors.Is(failure.Err, context.DeadlineExceeded) {
				return failure.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Fprintf(files[record.Partition], "%d\t%d\t%s\t%s\n", record.Offset, record.Timestamp.UnixMilli(), record.Key, record.Value)
			got++
		})
		if got >= wanted && enough.IsZero() {
			enough = time.Now().Add(300 * time.Millisecond)
		}
	}
	for _, file := range files {
		if err := file.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) ends(ctx context.Context, topic string, partitions int, isolation string) (string, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(p.bootstrap))
	if err != nil {
		return "", err
	}
	defer client.Close()
	ask := kadm.NewClient(client).ListEndOffsets
	if isolation == "read_committed" {
		ask = kadm.NewClient(client).ListCommittedOffsets
	}
	listed, err := ask(ctx, topic)
	if err != nil {
		return "", err
	}
	var words []string
	for partition := range partitions {
		found, _ := listed.Lookup(topic, int32(partition))
		if found.Err != nil {
			return "", found.Err
		}
		words = append(words, strconv.FormatInt(found.Offset, 10))
	}
	return strings.Join(words, " "), nil
}

func (p *program) copy(group, input, output, id string, size int, stop string) error {
	session, err := kgo.NewGroupTransactSession(append(p.transactional(id, time.Minute),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(input),
		// The classic protocol, as the other copiers: a group's members speak one.
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.SessionTimeout(3*time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.FetchMaxWait(100*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.RequireStableFetchOffsets(),
	)...)
	if err != nil {
		return err
	}
	background := context.Background()
	// The client would wait with this until it has something to write. It may get nothing to read before, though: the offsets
	// of a transaction that its predecessor left open are pending, until somebody ends that.
	if _, _, err := session.Client().ProducerID(background); err != nil {
		return err
	}
	for transactions := 0; !exists(stop); {
		ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
		fetches := session.PollRecords(ctx, size)
		cancel()
		for _, failure := range fetches.Errors() {
			if !errors.Is(failure.Err, context.DeadlineExceeded) {
				fmt.Fprintln(os.Stderr, "no records:", failure.Err)
			}
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			return err
		}
		var failed kgo.FirstErrPromise
		fetches.EachRecord(func(record *kgo.Record) {
			copied := &kgo.Record{Topic: output, Partition: record.Partition, Key: record.Key, Value: record.Value}
			session.Produce(background, copied, failed.Promise())
		})
		transactions++
		wanted := kgo.TransactionEndTry(transactions%3 != 0)
		if err := session.Client().Flush(background); err != nil {
			return err
		}
		if err := failed.Err(); err != nil {
			fmt.Fprintln(os.Stderr, "a transaction is given up:", err)
			wanted = kgo.TryAbort
		}
		if _, err := session.End(background, wanted); err != nil {
			return err
		}
	}
	session.Close()
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
