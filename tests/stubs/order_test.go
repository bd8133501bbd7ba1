package stubs

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	orderv1 "cronmill.dev/stubs/generated/cronmill/shop/order/v1"
	resourcesv1 "cronmill.dev/stubs/generated/cronmill/shop/resources/v1"
	tradev1 "cronmill.dev/stubs/generated/cronmill/shop/trade/v1"
	shopv1 "cronmill.dev/stubs/generated/cronmill/shop/v1"
)

func (s *shop) resource(t *testing.T, id int64) *resourcesv1.Resource {
	t.Helper()
	return call(t, s.resources.GetResource, &resourcesv1.GetResourceRequest{ResourceId: id}).Resource
}

func (s *shop) order(t *testing.T, id int64) *orderv1.Order {
	t.Helper()
	return call(t, s.orders.GetOrder, &orderv1.GetOrderRequest{OrderId: id}).Order
}

func (s *shop) pay(t *testing.T, order *orderv1.Order) *tradev1.PayOrderResponse {
	t.Helper()
	payment := fmt.Sprintf("payment of %d", order.Id)
	return call(t, s.trade.PayOrder, &tradev1.PayOrderRequest{PaymentId: payment, OrderId: order.Id, Amount: order.Amount})
}

func TestResourcesAreListedInPages(t *testing.T) {
	shop := start(t)
	var listed []*resourcesv1.Resource
	for after := int64(0); ; after = listed[len(listed)-1].Id {
		request := &resourcesv1.ListResourcesRequest{AfterResourceId: after, Limit: 30}
		page := call(t, shop.resources.ListResources, request).Resources
		listed = append(listed, page...)
		if len(page) < 30 {
			break
		}
	}
	if len(listed) != 100 {
		t.Fatalf("%d resources are listed, not 100", len(listed))
	}
	for at, resource := range listed {
		if resource.Id != int64(at+1) {
			t.Errorf("resource %d stands in place %d", resource.Id, at+1)
		}
	}
	if read := shop.resource(t, 7); !proto.Equal(read, listed[6]) {
		t.Errorf("read as %v, listed as %v", read, listed[6])
	}
}

func TestAnOrderIsPlacedWithItsTaskThenPaidCompletedAndRefunded(t *testing.T) {
	shop := start(t)
	before := shop.resource(t, 3)
	request := &orderv1.CreateOrderRequest{
		RequestId: "basket", UserId: 2, ResourceId: 3, Quantity: 2, PayWithin: &durationpb.Duration{Seconds: 600},
	}
	placed := call(t, shop.orders.CreateOrder, request)
	order := placed.Order
	costs := &shopv1.Money{Minor: 2 * before.Price.Minor, Currency: before.Price.Currency}
	if !placed.Created || order.Id != 101 || order.Status != orderv1.OrderStatus_ORDER_STATUS_PENDING || !proto.Equal(order.Amount, costs) {
		t.Fatalf("placed %v, not the pending order 101 over %v", placed, costs)
	}
	if within := order.PayBy.AsTime().Sub(order.CreatedAt.AsTime()); within != request.PayWithin.AsDuration() {
		t.Errorf("there are %s to pay", within)
	}
	if again := call(t, shop.orders.CreateOrder, request); again.Created || !proto.Equal(again.Order, order) {
		t.Errorf("asked again, it placed %v", again)
	}
	if left := shop.resource(t, 3).Stock; left != before.Stock-2 {
		t.Errorf("%d are left of %d", left, before.Stock)
	}
	shop.hasExpiryTask(t, order)

	if paid := shop.pay(t, order); !paid.Paid || !proto.Equal(paid.Payment.Amount, order.Amount) {
		t.Errorf("paid %v", paid)
	}
	payment := call(t, shop.trade.GetPayment, &tradev1.GetPaymentRequest{OrderId: order.Id}).Payment
	order = shop.order(t, order.Id)
	if order.Status != orderv1.OrderStatus_ORDER_STATUS_PAID || !proto.Equal(order.PaidAt, payment.PaidAt) {
		t.Errorf("after %v it is %v", payment, order)
	}
	completed := call(t, shop.orders.CompleteOrder, &orderv1.CompleteOrderRequest{OrderId: order.Id})
	if !completed.Completed || completed.Order.Status != orderv1.OrderStatus_ORDER_STATUS_COMPLETED {
		t.Errorf("completed: %v", completed)
	}
	refunded := call(t, shop.orders.RefundOrder, &orderv1.RefundOrderRequest{OrderId: order.Id})
	if !refunded.Refunded || refunded.Order.Status != orderv1.OrderStatus_ORDER_STATUS_REFUNDED {
		t.Errorf("refunded: %v", refunded)
	}
	if after := shop.resource(t, 3); !proto.Equal(after, before) {
		t.Errorf("%v has become %v", before, after)
	}
}

// hasExpiryTask checks in Redis that asynq would find the task that closes an order, due when the order is.
func (s *shop) hasExpiryTask(t *testing.T, order *orderv1.Order) {
	t.Helper()
	id := fmt.Sprintf("expire-order-%d", order.Id)
	var score string
	until(t, id+" is scheduled", func() bool {
		score = s.redis(t, "ZSCORE", "asynq:{default}:scheduled", id)
		return score != ""
	})
	due := order.PayBy.Seconds
	if order.PayBy.Nanos > 0 {
		due++
	}
	if score != strconv.FormatInt(due, 10) {
		t.Errorf("%s is due at %s, not at %d", id, score, due)
	}
	task := "asynq:{default}:t:" + id
	if state := s.redis(t, "HGET", task, "state"); state != "scheduled" {
		t.Errorf("%s is %q", id, state)
	}
	if message := s.redis(t, "HGET", task, "msg"); !strings.Contains(message, "delete-expire-order") {
		t.Errorf("the message of %s names another type: %q", id, message)
	}
}
