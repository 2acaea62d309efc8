module ngx_tailnet/peers/ingress

go 1.26.6
