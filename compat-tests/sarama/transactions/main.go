// Sarama with transactions; transactions/programs.py says what this program obeys.
//
// The client keeps the offsets of a transaction until its end: before, nobody else sees that they are pending.
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
	"sync"
	"time"

	"github.com/IBM/sarama"
)

type program struct {
	bootstrap string
	producers map[string]sarama.AsyncProducer
}

func main() {
	if len(os.Args) < 2 {
		fatal(errors.New("usage: transactions BOOTSTRAP [copy GROUP INPUT OUTPUT TRANSACTIONAL_ID SIZE STOP]"))
	}
	p := &program{bootstrap: os.Args[1], producers: map[string]sarama.AsyncProducer{}}
	if len(os.Args) == 9 {
		if err := p.copy(os.Args[3], os.Args[4], os.Args[5], os.Args[6], number(os.Args[7]), os.Args[8]); err != nil {
			fatal(err)
		}
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := p.obey(strings.Fields(lines.Text())); err != nil {
			fmt.Println("error", name(err), strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Println("ok")
	}
	// Producers are not closed: that would end their transactions.
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// name is the number that the client's own name stands for, or the type of the error.
func name(err error) string {
	var known sarama.KError
	if errors.As(err, &known) {
		return fmt.Sprintf("KError(%d)", int16(known))
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

func (p *program) obey(words []string) error {
	switch words[0] {
	case "init":
		producer, err := p.transactional(words[2], time.Duration(number(words[3]))*time.Millisecond)
		p.producers[words[1]] = producer
		return err
	case "begin":
		return p.producers[words[1]].BeginTxn()
	case "send":
		messages, err := rows(words[2], number(words[3]), words[4], number(words[5]), number(words[6]))
		if err != nil {
			return err
		}
		return send(p.producers[words[1]], messages)
	case "offsets":
		return p.producers[words[1]].AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{
			words[3]: {{Partition: int32(number(words[4])), Offset: int64(number(words[5]))}},
		}, words[2])
	case "commit":
		return p.producers[words[1]].CommitTxn()
	case "abort":
		return p.producers[words[1]].AbortTxn()
	case "read":
		return p.read(words[1], number(words[2]), words[3], number(words[4]), words[5])
	}
	return fmt.Errorf("no such command: %v", words)
}

func (p *program) transactional(id string, timeout time.Duration) (sarama.AsyncProducer, error) {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Return.Successes = true
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	config.Producer.Retry.Max = 50
	config.Producer.Transaction.ID = id
	config.Producer.Transaction.Timeout = timeout
	config.Producer.Transaction.Retry.Max = 200
	config.Producer.Transaction.Retry.Backoff = 100 * time.Millisecond
	return sarama.NewAsyncProducer([]string{p.bootstrap}, config)
}

func rows(topic string, partition int, path string, first, count int) ([]*sarama.ProducerMessage, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var messages []*sarama.ProducerMessage
	lines := bufio.NewScanner(file)
	for at := 0; lines.Scan() && at < first+count; at++ {
		if at < first {
			continue
		}
		columns := strings.SplitN(lines.Text(), "\t", 3)
		messages = append(messages, &sarama.ProducerMessage{
			Topic: topic, Partition: int32(partition), Timestamp: time.UnixMilli(int64(number(columns[0]))),
			Key: sarama.StringEncoder(columns[1]), Value: sarama.StringEncoder(columns[2]),
		})
	}
	return messages, lines.Err()
}

// send returns when each message is acknowledged or failed.
func send(producer sarama.AsyncProducer, messages []*sarama.ProducerMessage) error {
	go func() {
		for _, message := range messages {
			producer.Input() <- message
		}
	}()
	var failure error
	for range messages {
		select {
		case <-producer.Successes():
		case failed := <-producer.Errors():
			failure = failed.Err
		}
	}
	return failure
}

func (p *program) read(topic string, partitions int, isolation string, wanted int, directory string) error {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	if isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	consumer, err := sarama.NewConsumer([]string{p.bootstrap}, config)
	if err != nil {
		return err
	}
	defer consumer.Close()
	files := make([]*bufio.Writer, partitions)
	messages := make(chan *sarama.ConsumerMessage)
	over := make(chan struct{})
	defer close(over)
	for partition := range files {
		file, err := os.Create(filepath.Join(directory, fmt.Sprintf("%d.tsv", partition)))
		if err != nil {
			return err
		}
		defer file.Close()
		files[partition] = bufio.NewWriter(file)
		claim, err := consumer.ConsumePartition(topic, int32(partition), sarama.OffsetOldest)
		if err != nil {
			return err
		}
		defer claim.AsyncClose()
		go func() {
			for message := range claim.Messages() {
				select {
				case messages <- message:
				case <-over:
				}
			}
		}()
	}
	giveUp, enough := time.After(30*time.Second), (<-chan time.Time)(nil)
	if wanted == 0 {
		enough = time.After(300 * time.Millisecond)
	}
	for got, done := 0, false; !done; {
		select {
		case message := <-messages:
			fmt.Fprintf(files[message.Partition], "%d\t%d\t%s\t%s\n", message.Offset, message.Timestamp.UnixMilli(), message.Key, message.Value)
			if got++; got == wanted {
				enough = time.After(300 * time.Millisecond)
			}
		case <-enough:
			done = true
		case <-giveUp:
			done = true
		}
	}
	for _, file := range files {
		if err := file.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// copier is the handler of a member of a group.
type copier struct {
	// One transaction at a time.
	mu            sync.Mutex
	producer      sarama.AsyncProducer
	group, output string
	size          int
	transactions  int
}

func (p *program) copy(group, input, output, id string, size int, stop string) error {
	producer, err := p.transactional(id, time.Minute)
	if err != nil {
		return err
	}
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.MaxWaitTime = 100 * time.Millisecond
	config.Consumer.Return.Errors = true
	config.Consumer.Group.Session.Timeout = 3 * time.Second
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{sarama.NewBalanceStrategyRange()}
	consumer, err := sarama.NewConsumerGroup([]string{p.bootstrap}, group, config)
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
		for !exists(stop) {
			time.Sleep(50 * time.Millisecond)
		}
		cancel()
	}()
	handler := &copier{producer: producer, group: group, output: output, size: size}
	for ctx.Err() == nil {
		if err := consumer.Consume(ctx, []string{input}, handler); err != nil {
			fmt.Fprintln(os.Stderr, err)
			time.Sleep(100 * time.Millisecond)
		}
		if producer.TxnStatus()&sarama.ProducerTxnFlagFatalError != 0 {
			return errors.New("the producer has failed for good")
		}
	}
	return consumer.Close()
}

func (c *copier) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (c *copier) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim gathers records of a partition and copies them. After a failure it returns, and with that the member joins
// anew, and reads again from what is committed.
func (c *copier) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		var batch []*sarama.ConsumerMessage
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			batch = append(batch, message)
		case <-session.Context().Done():
			return nil
		}
		late := time.After(20 * time.Millisecond)
	gather:
		for len(batch) < c.size {
			select {
			case message, open := <-claim.Messages():
				if !open {
					break gather
				}
				batch = append(batch, message)
			case <-late:
				break gather
			}
		}
		for {
			committed, err := c.transact(session, batch)
			if err != nil {
				fmt.Fprintln(os.Stderr, "a transaction is given up:", err)
				return err
			}
			if committed {
				break
			}
		}
	}
}

// transact copies a batch in one transaction; each third is aborted.
func (c *copier) transact(session sarama.ConsumerGroupSession, batch []*sarama.ConsumerMessage) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if session.Context().Err() != nil {
		return false, session.Context().Err()
	}
	if err := c.producer.BeginTxn(); err != nil {
		return false, err
	}
	var copies []*sarama.ProducerMessage
	for _, message := range batch {
		copies = append(copies, &sarama.ProducerMessage{
			Topic: c.output, Partition: message.Partition,
			Key: sarama.ByteEncoder(message.Key), Value: sarama.ByteEncoder(message.Value),
		})
	}
	err := send(c.producer, copies)
	if err == nil {
		metadata := sarama.NewConsumerGroupMetadataFromSession(session, c.group, nil)
		err = c.producer.AddMessageToTxnWithGroupMetadata(batch[len(batch)-1], metadata, nil)
	}
	c.transactions++
	if err == nil && c.transactions%3 != 0 {
		if err = c.producer.CommitTxn(); err == nil {
			return true, nil
		}
	}
	// Some errors are gone when it is tried again; after others the producer is of no more use.
	for tries := 0; ; tries++ {
		ended := c.producer.AbortTxn()
		if ended == nil {
			return false, err
		}
		if tries == 20 || c.producer.TxnStatus()&sarama.ProducerTxnFlagFatalError != 0 {
			fatal(ended)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
