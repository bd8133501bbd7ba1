package stubs

import (
	"context"
	"reflect"
	"slices"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	orderv1 "cronmill.dev/stubs/generated/cronmill/shop/order/v1"
	resourcesv1 "cronmill.dev/stubs/generated/cronmill/shop/resources/v1"
	tradev1 "cronmill.dev/stubs/generated/cronmill/shop/trade/v1"
)

// ours are the services of proto/, with the files that describe them, as the stubs have them.
var ours = map[string]protoreflect.FileDescriptor{
	orderv1.OrderService_ServiceDesc.ServiceName:         orderv1.File_cronmill_shop_order_v1_order_proto,
	resourcesv1.ResourcesService_ServiceDesc.ServiceName: resourcesv1.File_cronmill_shop_resources_v1_resources_proto,
	tradev1.TradeService_ServiceDesc.ServiceName:         tradev1.File_cronmill_shop_trade_v1_trade_proto,
}

func TestHealthKnowsEachService(t *testing.T) {
	shop := start(t)
	health := grpc_health_v1.NewHealthClient(shop)
	for name := range ours {
		check := &grpc_health_v1.HealthCheckRequest{Service: name}
		if status := call(t, health.Check, check).Status; status != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%s is %s", name, status)
		}
	}
}

// asking opens a conversation with reflection.
func (s *shop) asking(t *testing.T) func(*reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	stream, err := reflectionv1.NewServerReflectionClient(s).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return func(request *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
}

func TestReflectionListsTheServices(t *testing.T) {
	ask := start(t).asking(t)
	answer := ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	})
	var listed []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		listed = append(listed, service.Name)
	}
	want := []string{"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"}
	for name := range ours {
		want = append(want, name)
	}
	slices.Sort(listed)
	slices.Sort(want)
	if !reflect.DeepEqual(listed, want) {
		t.Errorf("listed are %q, not %q", listed, want)
	}
}

// What the program says of itself is what the stubs were generated from, down to the imports.
func TestReflectionDescribesTheServicesAsProtoDoes(t *testing.T) {
	ask := start(t).asking(t)
	described := func(request *reflectionv1.ServerReflectionRequest) *descriptorpb.FileDescriptorProto {
		t.Helper()
		answer := ask(request)
		files := answer.GetFileDescriptorResponse().GetFileDescriptorProto()
		if len(files) == 0 {
			t.Fatalf("%v is answered with %v", request, answer)
		}
		file := &descriptorpb.FileDescriptorProto{}
		if err := proto.Unmarshal(files[0], file); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var compare func(*descriptorpb.FileDescriptorProto, protoreflect.FileDescriptor)
	compare = func(got *descriptorpb.FileDescriptorProto, stub protoreflect.FileDescriptor) {
		t.Helper()
		if want := protodesc.ToFileDescriptorProto(stub); !proto.Equal(got, want) {
			t.Errorf("%s is described as\n%v\nnot as\n%v", stub.Path(), got, want)
		}
		for at := range stub.Imports().Len() {
			imported := stub.Imports().Get(at).FileDescriptor
			by := &reflectionv1.ServerReflectionRequest_FileByFilename{FileByFilename: imported.Path()}
			compare(described(&reflectionv1.ServerReflectionRequest{MessageRequest: by}), imported)
		}
	}
	for name, stub := range ours {
		by := &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}
		compare(described(&reflectionv1.ServerReflectionRequest{MessageRequest: by}), stub)
	}
}
