#!/usr/bin/perl

# nginx's upstreams behind others: two real tailscaleds that route the same
# network, of which control makes one the primary, and one that is an exit
# node; with accept_routes and exit_node and without.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my ($NET, $FAR) = ('192.168.77', '203.0.113');

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(tun => 0);
my ($peer, $web, $control) = @$tailnet{qw(peer web control)};

my $spare = $lab->tailscaled(host => $lab->host('spare'), tun => 0);
$spare->up(control => $control, auth_key => $tailnet->{auth_key});

# What is behind them: addresses that nginx's host does not know.

my $inside = $lab->host('inside');

for my $pair ([$peer->host, 1], [$spare->host, 3], [$inside, 2]) {
    my ($host, $n) = @$pair;

    $host->ip('addr', 'add', "$NET.$n/24", 'dev', 'eth0');
}

# An exit node does not lead to networks that it is on: one behind a router.

$inside->ip('addr', 'add', "$FAR.2/32", 'dev', 'lo');
$peer->host->ip('route', 'add', "$FAR.0/24", 'via', $inside->ip4);

my $site = $lab->nginx(host => $inside, http => <<'HTTP');
    server {
        listen 80;
        location / { return 200 "$remote_addr\n"; }
    }
HTTP
$site->start;

$peer->cli('set', "--advertise-routes=$NET.0/24", '--advertise-exit-node');
$spare->cli('set', "--advertise-routes=$NET.0/24");

my $exit = $control->wait_routes('peer', 3, 20);
my $route = $control->wait_routes('spare', 1, 20);

is(@$exit, 3, 'the peer announces a network and an exit node');
is(@$route, 1, 'the spare one the same network');
$control->approve_routes('peer', @$exit);
$control->approve_routes('spare', @$route);

my $nginx = $lab->nginx(host => $web, module => 1);

sub configure {
    my ($routes) = @_;

    $nginx->configure(
        main => $nginx->tailnet_block($control, $tailnet->{auth_key},
                                      extra => $routes),
        http => <<"HTTP");
    upstream behind { server $NET.2:80 tailnet=home; }
    upstream far    { server $FAR.2:80 tailnet=home; }

    proxy_connect_timeout 3s;

    server {
        listen 8080;
        location /behind { proxy_pass http://behind; }
        location /far    { proxy_pass http://far; }
    }
HTTP
}

configure('accept_routes on;');
$nginx->start;

my $by = $lab->wait_for(30, 'a host behind', sub { ask('behind') });
like($by, qr/^\Q$NET\E\.[13]$/, "a host behind a subnet router ($by)");
is(ask('far'), undef, 'not one behind an exit node that nobody chose');

# The router that is in use goes; control makes the other the primary.

my ($first, $other) = $by eq "$NET.1" ? ($peer, "$NET.3") : ($spare, "$NET.1");

$first->stop;
is($lab->wait_for(60, 'the other router', sub {
    my $now = ask('behind') // '';
    return $now ne $by && $now;
}), $other, 'the other router of the network takes over');
$first->start;

configure("exit_node peer;");
$nginx->reload;

is($lab->wait_for(40, 'a far host', sub { ask('far') }), $peer->host->ip4,
   'a far host by the exit node');

configure('exit_node ' . $peer->ip4 . '; accept_routes on;');
$nginx->reload;

ok($lab->wait_for(40, 'a far host', sub { ask('far') }),
   'an exit node by its address');
ok($lab->wait_for(20, 'a host behind', sub { ask('behind') }), 'and routes');

configure('');
$nginx->reload;

# one answer that does not come is no end of it

$lab->wait_for(20, 'the end of it', sub {
    !grep { defined } map { ask($_) } qw(far behind far behind)
});
pass('neither without both');

done_testing();


# What the host behind sees as the client.

sub ask {
    my ($what) = @_;
    my $r = $web->get("http://127.0.0.1:8080/$what", timeout => 5);

    return unless $r->{ok} && $r->{status} == 200;
    return $r->{body} =~ s/\n//r;
}
