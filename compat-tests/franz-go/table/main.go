// Franz-go on compacted topics; compaction/clients.py says what this program does.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var err error
	switch {
	case len(os.Args) > 5 && os.Args[1] == "write":
		err = write(ctx, os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
	case len(os.Args) > 5 && os.Args[1] == "read":
		err = read(ctx, os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
	case len(os.Args) == 4 && os.Args[1] == "keyless":
		err = keyless(ctx, os.Args[2], os.Args[3])
	default:
		err = errors.New("usage: table write BOOTSTRAP TOPIC CODEC DIR... | read BOOTSTRAP ISOLATION DIR TOPIC... | keyless BOOTSTRAP TOPIC")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func producer(bootstrap, codec string) (*kgo.Client, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	chosen, known := codecs[codec]
	if !known {
		return nil, fmt.Errorf("no such codec: %s", codec)
	}
	return kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ProducerBatchCompression(chosen),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(20*time.Millisecond),
		// A batch of everything would be in one segment, however short segments are.
		kgo.ProducerBatchMaxBytes(32<<10),
	)
}

func write(ctx context.Context, bootstrap, topic, codec string, folders []string) error {
	client, err := producer(bootstrap, codec)
	if err != nil {
		return err
	}
	defer client.Close()
	stdin := bufio.NewReader(os.Stdin)
	for number, folder := range folders {
		if number > 0 {
			fmt.Println("written")
			if _, err := stdin.ReadString('\n'); err != nil {
				return err
			}
		}
		if err := writeFolder(ctx, client, topic, folder); err != nil {
			return err
		}
	}
	return nil
}

func writeFolder(ctx context.Context, client *kgo.Client, topic, folder string) error {
	paths, err := filepath.Glob(filepath.Join(folder, "*.tsv"))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("no input under %s: %w", folder, err)
	}
	sort.Strings(paths)
	var mu sync.Mutex
	var failure error
	offsets := map[string][]int64{}
	for _, path := range paths {
		stem := strings.TrimSuffix(path, ".tsv")
		partition, err := strconv.Atoi(filepath.Base(stem))
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(content) {
			columns := bytes.SplitN(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\t'}, 4)
			if len(columns) < 3 {
				return fmt.Errorf("not a record: %q", line)
			}
			timestamp, err := strconv.ParseInt(string(columns[0]), 10, 64)
			if err != nil {
				return err
			}
			record := &kgo.Record{
				Topic: topic, Partition: int32(partition), Timestamp: time.UnixMilli(timestamp), Key: columns[1],
				Headers: []kgo.RecordHeader{{Key: "row", Value: columns[2]}},
			}
			if len(columns) > 3 {
				record.Value = columns[3]
			}
			client.Produce(ctx, record, func(record *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				failure = errors.Join(failure, err)
				offsets[stem] = append(offsets[stem], record.Offset)
			})
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	for stem, acknowledged := range offsets {
		var text strings.Builder
		for _, offset := range acknowledged {
			fmt.Fprintln(&text, offset)
		}
		failure = errors.Join(failure, os.WriteFile(stem+".acks", []byte(text.String()), 0o644))
	}
	return failure
}

func read(ctx context.Context, bootstrap, isolation, target string, topics []string) error {
	for _, topic := range topics {
		if err := readTopic(ctx, bootstrap, isolation, filepath.Join(target, topic), topic); err != nil {
			return fmt.Errorf("%s: %w", topic, err)
		}
	}
	return nil
}

func readTopic(ctx context.Context, bootstrap, isolation, target, topic string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	admin, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		return err
	}
	defer admin.Close()
	ask, level := kadm.NewClient(admin).ListEndOffsets, kgo.ReadUncommitted()
	if isolation == "read_committed" {
		ask, level = kadm.NewClient(admin).ListCommittedOffsets, kgo.ReadCommitted()
	}
	ends, err := ask(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	starts := map[int32]kgo.Offset{}
	files := map[int32]*bufio.Writer{}
	unfinished := map[int32]int64{}
	for partition, end := range ends[topic] {
		file, err := os.Create(filepath.Join(target, fmt.Sprintf("%d.tsv", partition)))
		if err != nil {
			return err
		}
		defer file.Close()
		files[partition] = bufio.NewWriter(file)
		starts[partition] = kgo.NewOffset().AtStart()
		if end.Offset > 0 {
			unfinished[partition] = end.Offset
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: starts}),
		kgo.FetchIsolationLevel(level),
		kgo.FetchMaxWait(100*time.Millisecond),
		// The last offset of a partition may be one of these.
		kgo.KeepControlRecords(),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	for len(unfinished) > 0 {
		within, cancel := context.WithTimeout(ctx, 30*time.Second)
		fetches := client.PollFetches(within)
		cancel()
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("not at the ends %v: %w", unfinished, err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if end, waiting := unfinished[record.Partition]; waiting && record.Offset+1 >= end {
				delete(unfinished, record.Partition)
			}
			if record.Attrs.IsControl() {
				return
			}
			file := files[record.Partition]
			fmt.Fprintf(file, "%d\t%d\t%s\t%s", record.Offset, record.Timestamp.UnixMilli(), record.Key, record.Headers[0].Value)
			if record.Value != nil {
				fmt.Fprintf(file, "\t%s", record.Value)
			}
			file.WriteByte('\n')
		})
	}
	for _, file := range files {
		if err := file.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func keyless(ctx context.Context, bootstrap, topic string) error {
	client, err := producer(bootstrap, "none")
	if err != nil {
		return err
	}
	defer client.Close()
	for _, key := range [][]byte{[]byte("first"), nil, []byte("last")} {
		record, err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: key, Value: []byte("value")}).First()
		var refused *kerr.Error
		if errors.As(err, &refused) {
			fmt.Println("error", refused.Message)
		} else if err != nil {
			return err
		} else {
			fmt.Println("ok", record.Offset)
		}
	}
	return nil
}
