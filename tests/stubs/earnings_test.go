package stubs

import (
	"reflect"
	"testing"

	orderv1 "cronmill.dev/stubs/generated/cronmill/shop/order/v1"
	tradev1 "cronmill.dev/stubs/generated/cronmill/shop/trade/v1"
	shopv1 "cronmill.dev/stubs/generated/cronmill/shop/v1"
)

// account is where an amount belongs.
type account struct {
	user     int64
	currency string
}

// counted is what a caller counts together of a batch, read in pages.
func (s *shop) counted(t *testing.T, batch *orderv1.Batch) map[account]int64 {
	t.Helper()
	totals := map[account]int64{}
	var entries, last int64
	for {
		page := call(t, s.orders.ListBatch, &orderv1.ListBatchRequest{BatchId: batch.Id, AfterEntry: last, Limit: 7}).Entries
		for _, entry := range page {
			totals[account{entry.UserId, entry.Amount.Currency}] += entry.Amount.Minor
			last = entry.Id
		}
		entries += int64(len(page))
		if len(page) < 7 {
			break
		}
	}
	if entries != batch.Entries {
		t.Errorf("%d entries are listed of %v", entries, batch)
	}
	return totals
}

func TestBatchesOfTheLedgerBecomeEarningsOnce(t *testing.T) {
	shop := start(t)
	want := map[account]int64{}
	batches := 0
	for ; ; batches++ {
		batch := call(t, shop.orders.OpenBatch, &orderv1.OpenBatchRequest{Run: "count", Max: 40}).Batch
		if batch == nil {
			break
		}
		credit := &tradev1.CreditBatchRequest{BatchId: batch.Id}
		for account, minor := range shop.counted(t, batch) {
			want[account] += minor
			amount := &shopv1.Money{Minor: minor, Currency: account.currency}
			credit.Totals = append(credit.Totals, &tradev1.UserAmount{UserId: account.user, Amount: amount})
		}
		if !call(t, shop.trade.CreditBatch, credit).Credited || call(t, shop.trade.CreditBatch, credit).Credited {
			t.Errorf("%v was not credited once", batch)
		}
		if !call(t, shop.orders.CloseBatch, &orderv1.CloseBatchRequest{BatchId: batch.Id}).Closed {
			t.Errorf("%v was closed before", batch)
		}
	}
	if batches < 2 {
		t.Fatalf("everything was in %d batches", batches)
	}
	got := map[account]int64{}
	for _, line := range call(t, shop.trade.ListEarnings, &tradev1.ListEarningsRequest{}).Earnings {
		got[account{line.UserId, line.Amount.Currency}] = line.Amount.Minor
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the earnings are %v, counted were %v", got, want)
	}
	for _, money := range call(t, shop.trade.GetEarnings, &tradev1.GetEarningsRequest{UserId: 1}).Earnings {
		if minor := want[account{1, money.Currency}]; minor != money.Minor {
			t.Errorf("user 1 has earned %v, counted were %d", money, minor)
		}
	}
}
