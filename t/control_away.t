#!/usr/bin/perl

# Control is away, for AWAY_SECONDS (4) of traffic both ways with a real
# tailscaled. Then the core is killed and the whole nginx restarted, and traffic
# flows by the netmap that was kept on disk. Control comes back after each.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

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
    upstream peer { server peer:80 tailnet=home; }
    server { listen 80 tailnet=home; }
    server {
        listen 8000;
        proxy_connect_timeout 5s;
        location / { proxy_pass http://peer; }
    }
HTTP

$nginx->write('html/index.html', "page\n");
$nginx->start;
$peer->wait_peer('web', 20);

my $page = sub {
    my ($seconds) = @_;
    my $r = eval { $peer->wait_get('http://web/', seconds => $seconds) };
    return $r ? $r->{body} : $@;
};

is($page->(20), "page\n", 'a page while control is there');

my ($kept) = map { "$_/home/netmap.zst" } $nginx->prefix . '/state';

$lab->wait_for(20, 'the netmap to be kept', sub { -s $kept });
is((stat $kept)[2] & 0777, 0600, 'the kept netmap is for its owner alone');

$control->stop;

# Requests in turn both ways, each over a connection of its own.

my $away = $ENV{AWAY_SECONDS} || 4;
my $proxied = 'http://' . $web->ip4 . ':8000/';
my %way = (
    'to nginx' => sub { $peer->get('http://web/', timeout => 20) },
    'through nginx' => sub {
        $tailnet->{infra}->get($proxied, timeout => 20);
    },
);
my (%good, %slowest, @bad);
my $until = time + $away;

while (time < $until) {
    for my $way (sort keys %way) {
        my $begin = time;
        my $r = $way{$way}->();
        my $took = time - $begin;

        if ($r->{ok} && $r->{status} == 200) {
            $good{$way}++;
        } else {
            push @bad, "$way: " . ($r->{error} || $r->{status});
        }

        $slowest{$way} = $took if $took > ($slowest{$way} // 0);
    }

    sleep 0.2;
}

is_deeply(\@bad, [], "$away s of traffic without control")
    or diag($nginx->error_log);
note(sprintf '%s: %d answers, the slowest took %.2f s', $_, $good{$_},
     $slowest{$_}) for sort keys %good;

my @said = $nginx->errors(qr/\[(?:warn|error|crit|alert|emerg)\].*control: /);

cmp_ok(scalar @said, '<=', 6, 'and few lines about it above "info"')
    or diag(@said);
is_deeply([grep { !/\[warn\]/ } @said], [], 'all of them warnings');

# Control is there for a moment: the node is back by itself, the same core.

$control->start;

my $returned = time;

ok(eval {
    $nginx->wait_error_log(90, qr/map received from.*map received from/s)
}, 'the node is back by itself') or diag($nginx->error_log);
note(sprintf 'after %.1f s', time - $returned);
is($page->(20), "page\n", 'and a page');
$control->stop;

# The core dies.

my ($core) = $web->processes('tailnet-core');

ok($core, 'there is a core') or diag(`ps -ef`);
kill 'KILL', $core;
$nginx->wait_error_log(20, qr/starting with the netmap of/);
is($page->(30), "page\n", 'a page of a new core without control');

# nginx starts anew, at the UDP port that the peer knows, which it could not
# learn otherwise.

my $ports = sub {
    my ($status, $out) = $web->capture(qw(ss -Hlun));

    # without 5350, which listens to routers
    return join ' ', grep { $_ != 5350 } sort
        map { (split)[3] =~ /^(?:0\.0\.0\.0|\[::\]|\*):(\d+)/ }
        split /\n/, $out;
};

my $before = $ports->();

is($nginx->quit, 0, 'nginx quits');
ok(eval { $lab->wait_for(15, 'its ports', sub { $ports->() eq '' }) },
   'and its UDP ports are free') or diag($ports->());
$nginx->start;
is($page->(60), "page\n", 'a page of a new nginx without control')
    or diag($nginx->error_log);
like($before, qr/^(\d+) \1$/, 'it had one port in both families');
is($ports->(), $before, 'which it has again');

my $r = eval { $tailnet->{infra}->wait_get($proxied, seconds => 30) };
like($r ? $r->{body} : $@, qr/web server behind tailscaled/,
     'and to the peer by name');

# Control comes back.

$control->start;
ok(eval {
    $nginx->wait_error_log(90, qr/(?:map received from.*){3}/s)
}, 'the node is back again') or diag($nginx->error_log);
is($page->(20), "page\n", 'and a page');

$nginx->quit;

my @alerts = $nginx->errors(qr/\[(?:alert|emerg)\]/);

is(@alerts, 1, 'one alert, of the core that was killed') or diag(@alerts);

done_testing();
