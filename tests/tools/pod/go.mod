module cronmill.dev/tools/pod

go 1.26
