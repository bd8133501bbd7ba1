package main

import (
	"reflect"
	"strings"
	"testing"
)

func TestAnAbsentPayloadDiffersFromAnEmptyOne(t *testing.T) {
	empty, raw := "", "00ff"
	for _, example := range []struct {
		spec taskSpec
		want []byte
	}{
		{taskSpec{Type: "t"}, nil},
		{taskSpec{Type: "t", Payload: &empty}, []byte{}},
		{taskSpec{Type: "t", PayloadHex: &raw}, []byte{0, 0xff}},
	} {
		task, err := example.spec.task()
		if err != nil {
			t.Fatal(err)
		}
		if got := task.Payload(); !reflect.DeepEqual(got, example.want) {
			t.Errorf("payload of %+v is %#v, not %#v", example.spec, got, example.want)
		}
	}
}

func TestOnlyGivenFieldsBecomeOptions(t *testing.T) {
	retries := 0
	for _, example := range []struct {
		spec taskSpec
		want []string
	}{
		{taskSpec{}, nil},
		{taskSpec{MaxRetry: &retries}, []string{"MaxRetry(0)"}},
		{taskSpec{Timeout: "90s", Queue: "q", ID: "i"}, []string{"Timeout(1m30s)", `TaskID("i")`, `Queue("q")`}},
	} {
		options, err := example.spec.options()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, option := range options {
			got = append(got, option.String())
		}
		if !reflect.DeepEqual(got, example.want) {
			t.Errorf("options of %+v are %v, not %v", example.spec, got, example.want)
		}
	}
}

func TestAWrongDurationIsNamed(t *testing.T) {
	_, err := taskSpec{Retention: "soon"}.task()
	if err == nil || !strings.Contains(err.Error(), "retention") {
		t.Errorf("the error is %v", err)
	}
}

func TestQueuesHaveWeights(t *testing.T) {
	got, err := parseQueues("a=3,b=1")
	if want := map[string]int{"a": 3, "b": 1}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("parsed %v, %v", got, err)
	}
	for _, wrong := range []string{"", "a", "a=x"} {
		if _, err := parseQueues(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestEachLineIsOneValueAndEmptyOnesAreNone(t *testing.T) {
	var types []string
	err := eachLine(strings.NewReader("{\"type\":\"a\"}\n\n{\"type\":\"b\"}\n"), func(spec taskSpec) error {
		types = append(types, spec.Type)
		return nil
	})
	if want := []string{"a", "b"}; err != nil || !reflect.DeepEqual(types, want) {
		t.Errorf("read %v, %v", types, err)
	}
	if err := eachLine(strings.NewReader("{"), func(taskSpec) error { return nil }); err == nil {
		t.Error("a broken line was accepted")
	}
}

func TestAnUnknownCommandIsAWrongCall(t *testing.T) {
	if _, usage := run([]string{"nonsense"}).(errUsage); !usage {
		t.Error("not refused as a wrong call")
	}
}
