#!/usr/bin/perl

# The PeerAPI of a node: announced, on both families; answers a real
# tailscaled also where the packet filter lets nothing else in; refuses what
# a web page may have made a browser send, and breaks under nothing.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $control) = @{$tailnet}{qw(peer web control)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($control, $tailnet->{auth_key}),
    http => <<'HTTP');
    server { listen 80 tailnet=home; return 200 web; }
    server { listen 127.0.0.1:8000; location / { tailnet_status; } }
HTTP
$nginx->start;

my $node = $peer->wait_peer('web', 20);
is($peer->wait_get('http://web/')->{body}, 'web', 'a page');

my $urls = $lab->wait_for(10, 'the PeerAPI to be announced', sub {
    my $u = $peer->peer('web')->{PeerAPIURL};
    ref $u && @$u == 2 ? $u : undef;
});
my ($url4) = grep { !/\[/ } @$urls;
my ($url6) = grep { /\[/ } @$urls;

ok($url4 && $url6, 'of both families') or diag @$urls;

my ($status, $output) = $peer->try_cli('ping', '--peerapi', '--c=1',
    '--timeout=5s', 'web');
is($status, 0, 'tailscale ping --peerapi') or diag $output;
like($output, qr{hit peerapi of .* at http://}, 'is answered');

for my $url ($url4, $url6) {
    my $r = $peer->get("$url/");
    is($r->{status}, 200, "$url greets") or diag $r->{error};
    like($r->{body}, qr/Hello, .*Your device is peer\./s, 'by name');
}

is($peer->get("$url4/nothing")->{status}, 404, 'no such path');
is($peer->get("$url4/v0/ingress", method => 'POST')->{status}, 403,
   'who may not bring the Internet');

for (['Host', 'Host: evil.example'], ['Host', 'Host: 100.64.0.99:80'],
     ['Origin', 'Origin: http://evil.example'],
     ['Referer', 'Referer: http://evil.example/'])
{
    my ($name, $header) = @$_;
    is($peer->get("$url4/", headers => [$header])->{status}, 403,
       "a forged $name is refused");
}

my ($address, $port) = $url4 =~ m{//([\d.]+):(\d+)};

sub raw {
    my ($bytes, $seconds) = @_;
    $seconds //= 5;
    $lab->write_file($lab->path('raw'), $bytes);
    my (undef, $text) = $peer->host->capture('timeout', $seconds, 'bash', '-c',
        "exec 3<>/dev/tcp/$address/$port; cat '@{[$lab->path('raw')]}' >&3; "
        . 'cat <&3');
    return $text;
}

like(raw("GET / HTTP/1.1\r\nHost: a\r\nHost: peer\r\n\r\n"),
     qr{^HTTP/1.1 400 }, 'two hosts are malformed');
like(raw("NONSENSE\r\n\r\n"), qr{^HTTP/1.1 400 }, 'nonsense, too');
like(raw("GET / HTTP/1.1\r\nX: " . 'a' x 9000 . "\r\n\r\n"),
     qr{^HTTP/1.1 400 }, 'and a head without an end');
like(raw("GET / HTTP/1.0\r\nHost: peer\r\n\r\n"), qr{^HTTP/1.1 200 },
     'HTTP/1.0 is taken');

my $metrics = $web->get('http://127.0.0.1:8000/?format=prometheus')->{body};
like($metrics, qr/^tailnet_peerapi_requests_total\{node="home",
                  result="$_->[0]"\}\ $_->[1]$/mx, "counted: $_->[0]")
    for ['greeted', '[4-9]'], ['invalid', 7], ['ingress_denied', 1],
        ['unknown_peer', 0];

# Nobody may reach the node by policy; its PeerAPI judges by itself.

$control->set_policy({
    hosts => { web => "$address/32" },
    acls  => [{ action => 'accept', src => ['web'], dst => ['*:*'] }],
});
$control->reload_policy;

ok(eval {
    $lab->wait_for(15, 'the new policy', sub {
        !$peer->get("http://$address/", timeout => 1)->{ok}
    })
}, 'a filter that lets nothing in');
is($peer->get("$url4/", timeout => 5)->{status}, 200,
   'the PeerAPI is reached behind it');

# A new core listens on the same port.

my ($core) = $web->processes('tailnet-core');
kill KILL => $core;

is($peer->wait_get("$url4/", seconds => 20)->{status}, 200,
   'a new core answers');

is($nginx->quit, 0, 'nginx quits');

done_testing();
