package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// taskSpec describes a task to enqueue. Absent fields set no option, so asynq's own defaults apply.
type taskSpec struct {
	Type string `json:"type"`
	// Payload as text; null or absent is Go's nil payload, which differs from an empty one.
	Payload *string `json:"payload"`
	// PayloadHex is for payloads that are not text; it wins over Payload.
	PayloadHex *string           `json:"payload_hex"`
	Headers    map[string]string `json:"headers"`
	ID         string            `json:"id"`
	Queue      string            `json:"queue"`
	MaxRetry   *int              `json:"max_retry"`
	// Durations in Go's notation, such as 90s.
	Timeout   string `json:"timeout"`
	Retention string `json:"retention"`
	Unique    string `json:"unique"`
	In        string `json:"in"`
	// Unix seconds.
	DeadlineS int64  `json:"deadline_s"`
	AtS       int64  `json:"at_s"`
	Group     string `json:"group"`
}

func (s taskSpec) task() (*asynq.Task, error) {
	var payload []byte
	if s.Payload != nil {
		payload = []byte(*s.Payload)
	}
	if s.PayloadHex != nil {
		raw, err := hex.DecodeString(*s.PayloadHex)
		if err != nil {
			return nil, fmt.Errorf("payload_hex: %w", err)
		}
		payload = raw
	}
	options, err := s.options()
	if err != nil {
		return nil, err
	}
	return asynq.NewTaskWithHeaders(s.Type, payload, s.Headers, options...), nil
}

func (s taskSpec) options() ([]asynq.Option, error) {
	var options []asynq.Option
	for _, one := range []struct {
		name, text string
		option     func(time.Duration) asynq.Option
	}{
		{"timeout", s.Timeout, asynq.Timeout},
		{"retention", s.Retention, asynq.Retention},
		{"unique", s.Unique, asynq.Unique},
		{"in", s.In, asynq.ProcessIn},
	} {
		if one.text == "" {
			continue
		}
		span, err := time.ParseDuration(one.text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.name, err)
		}
		options = append(options, one.option(span))
	}
	if s.ID != "" {
		options = append(options, asynq.TaskID(s.ID))
	}
	if s.Queue != "" {
		options = append(options, asynq.Queue(s.Queue))
	}
	if s.MaxRetry != nil {
		options = append(options, asynq.MaxRetry(*s.MaxRetry))
	}
	if s.DeadlineS != 0 {
		options = append(options, asynq.Deadline(time.Unix(s.DeadlineS, 0)))
	}
	if s.AtS != 0 {
		options = append(options, asynq.ProcessAt(time.Unix(s.AtS, 0)))
	}
	if s.Group != "" {
		options = append(options, asynq.Group(s.Group))
	}
	return options, nil
}

// taskView is a stored task as asynq's tools see it. Times are Unix seconds, 0 for none.
type taskView struct {
	ID            string            `json:"id"`
	Queue         string            `json:"queue"`
	Type          string            `json:"type"`
	Payload       string            `json:"payload"`
	PayloadHex    string            `json:"payload_hex"`
	Headers       map[string]string `json:"headers"`
	State         string            `json:"state"`
	MaxRetry      int               `json:"max_retry"`
	Retried       int               `json:"retried"`
	LastError     string            `json:"last_error"`
	LastFailedS   int64             `json:"last_failed_s"`
	TimeoutS      float64           `json:"timeout_s"`
	DeadlineS     int64             `json:"deadline_s"`
	Group         string            `json:"group"`
	NextProcessS  int64             `json:"next_process_s"`
	Orphaned      bool              `json:"orphaned"`
	RetentionS    float64           `json:"retention_s"`
	CompletedS    int64             `json:"completed_s"`
	Result        string            `json:"result"`
	ResultHex     string            `json:"result_hex"`
	ResultPresent bool              `json:"result_present"`
}

func viewTask(info *asynq.TaskInfo) taskView {
	return taskView{
		ID:            info.ID,
		Queue:         info.Queue,
		Type:          info.Type,
		Payload:       string(info.Payload),
		PayloadHex:    hex.EncodeToString(info.Payload),
		Headers:       info.Headers,
		State:         info.State.String(),
		MaxRetry:      info.MaxRetry,
		Retried:       info.Retried,
		LastError:     info.LastErr,
		LastFailedS:   unix(info.LastFailedAt),
		TimeoutS:      info.Timeout.Seconds(),
		DeadlineS:     unix(info.Deadline),
		Group:         info.Group,
		NextProcessS:  unix(info.NextProcessAt),
		Orphaned:      info.IsOrphaned,
		RetentionS:    info.Retention.Seconds(),
		CompletedS:    unix(info.CompletedAt),
		Result:        string(info.Result),
		ResultHex:     hex.EncodeToString(info.Result),
		ResultPresent: info.Result != nil,
	}
}

func unix(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	return at.Unix()
}
