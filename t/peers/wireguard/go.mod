module ngx_tailnet/peers/wireguard

go 1.26.6

require github.com/tailscale/wireguard-go v0.0.0-20260527010701-b48af7099cad

require (
	golang.org/x/crypto v0.50.0 // indirect
	golang.org/x/net v0.53.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
	golang.zx2c4.com/wintun v0.0.0-20230126152724-0fa3db229ce2 // indirect
)
