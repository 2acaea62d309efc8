#!/usr/bin/perl

# A tailnet that gives its nodes addresses of IPv6 only, on a network that has
# both: a real tailscaled and nginx reach each other, http and stream, and
# variables have the one address there is.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(control => { v4 => 0 });
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key}),
    http => <<'HTTP', stream => <<'STREAM');
    upstream peer { server peer:80 tailnet=home; }
    server {
        listen 80 tailnet=home;
        return 200 "$tailnet_peer [$remote_addr] [$server_addr] [$tailnet_ip]";
    }
    server { listen 8000; location / { proxy_pass http://peer; } }
HTTP
    upstream peer { server peer:80 tailnet=home; }
    server { listen 8001; proxy_pass peer; }
STREAM
$nginx->start;

$nginx->wait_error_log(30, qr/this node is web\S* fd7a:\S+ ?$/m);
pass('joined with one address');
$peer->wait_peer('web', 20);

my ($own, @more) = @{$peer->peer('web')->{TailscaleIPs}};

is(scalar @more, 0, 'the peer knows of no other');
like($peer->wait_get("http://[$own]/", seconds => 20)->{body},
     qr/^peer \[fd7a:.*?\] \[\Q$own\E\] \[\Q$own\E\]$/,
     'the peer reaches nginx') or diag($nginx->error_log);

for my $port (8000, 8001) {
    like($infra->wait_get('http://' . $web->ip4 . ":$port/", seconds => 20)
         ->{body}, qr/web server behind/, "nginx reaches the peer ($port)")
        or diag($nginx->error_log);
}

done_testing();
