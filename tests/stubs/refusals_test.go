package stubs

import (
	"bufio"
	"context"
	"os/exec"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	orderv1 "cronmill.dev/stubs/generated/cronmill/shop/order/v1"
	tradev1 "cronmill.dev/stubs/generated/cronmill/shop/trade/v1"
	shopv1 "cronmill.dev/stubs/generated/cronmill/shop/v1"
)

func TestARefusalHasTheCodeThatTheServiceDescribes(t *testing.T) {
	shop := start(t)
	request := &orderv1.CreateOrderRequest{RequestId: "basket", UserId: 1, ResourceId: 1, Quantity: 1}
	order := call(t, shop.orders.CreateOrder, request).Order
	wrong := &shopv1.Money{Minor: order.Amount.Minor + 1, Currency: order.Amount.Currency}
	for what, each := range map[string]struct{ got, want codes.Code }{
		"an order that does not exist": {
			refusal(t, shop.orders.GetOrder, &orderv1.GetOrderRequest{OrderId: 1_000_000}), codes.NotFound,
		},
		"a payment that does not exist": {
			refusal(t, shop.trade.GetPayment, &tradev1.GetPaymentRequest{OrderId: order.Id}), codes.NotFound,
		},
		"more than there is": {
			refusal(t, shop.orders.CreateOrder, &orderv1.CreateOrderRequest{UserId: 1, ResourceId: 1, Quantity: 1_000_000}),
			codes.ResourceExhausted,
		},
		"none of it": {
			refusal(t, shop.orders.CreateOrder, &orderv1.CreateOrderRequest{UserId: 1, ResourceId: 1}), codes.InvalidArgument,
		},
		"another order by the same name": {
			refusal(t, shop.orders.CreateOrder, &orderv1.CreateOrderRequest{
				RequestId: request.RequestId, UserId: 1, ResourceId: 1, Quantity: 2,
			}),
			codes.AlreadyExists,
		},
		"another amount": {
			refusal(t, shop.trade.PayOrder, &tradev1.PayOrderRequest{PaymentId: "wrong", OrderId: order.Id, Amount: wrong}),
			codes.InvalidArgument,
		},
		"completing what is not paid": {
			refusal(t, shop.orders.CompleteOrder, &orderv1.CompleteOrderRequest{OrderId: order.Id}), codes.FailedPrecondition,
		},
	} {
		if each.got != each.want {
			t.Errorf("%s: %s, not %s", what, each.got, each.want)
		}
	}
}

func TestACallPastItsDeadlineIsGivenUpAndChangesNothing(t *testing.T) {
	shop := start(t)
	before := shop.resource(t, 1)
	request := &orderv1.CreateOrderRequest{RequestId: "basket", UserId: 1, ResourceId: 1, Quantity: 1}
	unlock := shop.lock(t)
	for left, want := range map[time.Duration][]codes.Code{
		-time.Second: {codes.DeadlineExceeded},
		// The shop keeps the deadline too, and may be the first to see it pass.
		300 * time.Millisecond: {codes.DeadlineExceeded, codes.Canceled},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), left)
		answer, err := shop.orders.CreateOrder(ctx, request)
		cancel()
		if code := status.Code(err); !slices.Contains(want, code) {
			t.Errorf("with %s left: %s, %v", left, code, answer)
		}
	}
	// Answered after the shop has heard on this connection that the calls before were given up.
	if now := shop.resource(t, 1); now.Stock != before.Stock {
		t.Errorf("%d are left of %d", now.Stock, before.Stock)
	}
	unlock()
	if placed := call(t, shop.orders.CreateOrder, request); !placed.Created {
		t.Errorf("a call that was given up has placed %v", placed.Order)
	}
}

// lock keeps the shop from writing, as another program at its database would, until it is called.
func (s *shop) lock(t *testing.T) func() {
	t.Helper()
	shell := exec.Command("sqlite3", "-cmd", ".timeout 30000", s.database)
	ask, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, err := shell.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		shell.Process.Kill()
		shell.Wait()
	})
	if _, err := ask.Write([]byte("BEGIN IMMEDIATE; SELECT 'locked';\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(answers).ReadString('\n'); err != nil || line != "locked\n" {
		t.Fatalf("sqlite3 answers %q: %v", line, err)
	}
	return func() {
		t.Helper()
		ask.Close()
		if err := shell.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
