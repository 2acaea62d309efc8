#!/usr/bin/perl

# What a router is beside its routes, with a real tailscaled and headscale:
# 4via6 both ways, routes that are not approved, routes that change while the
# node runs, DNS for those who use nginx as exit node, and the withdrawal of it
# all at the end.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use MIME::Base64 qw(encode_base64url);
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

plan skip_all => 'captures need the kernel stack'
    if ($ENV{TAILNET_STACK} // '') eq 'lwip';

my $NET = '192.168.77';
my $SITE = 'fd7a:115c:a1e0:b1a:0:%d:c0a8:4d%02x';       # of $NET

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $control) = @$tailnet{qw(peer web control)};
my $inside = $lab->host('inside');

for my $pair ([$web, 1], [$inside, 2], [$peer->host, 4]) {
    my ($host, $n) = @$pair;
    $host->ip('addr', 'add', "$NET.$n/24", 'dev', 'eth0');
}

my $site = $lab->nginx(host => $inside, http => <<'HTTP');
    server { listen 80; return 200 "$server_addr:$server_port\n"; }
HTTP
$site->start;

# A DNS server that the router's host uses: one name, by TCP when the answer is
# large, and nothing for all others.

my $dns = $lab->write_file($lab->path('dns.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my %s = map { my $p = $_; $p => IO::Socket::IP->new(LocalHost => $ARGV[0],
    LocalPort => 53, Proto => $p, $p eq 'tcp' ? (Listen => 5) : ()) // die $@
    } qw(udp tcp);
sub answer {
    my ($q, $tcp) = @_;
    my ($name, $at) = ('', 12);
    while (my $n = unpack 'C', substr $q, $at++, 1) {
        $name .= substr($q, $at, $n) . '.';
        $at += $n;
    }
    my $type = unpack 'n', substr $q, $at, 2;
    my $head = sub { substr($q, 0, 2) . pack('n5', @_) . substr $q, 12,
                     $at - 8 };
    return if $name eq 'silent.exit.test.';
    return $head->(0x8183, 1, 0, 0, 0)
        unless $name =~ /^(?:x|big)\.exit\.test\.$/;
    return $head->(0x8380, 1, 0, 0, 0) if $name =~ /^big/ && !$tcp;
    my @data = $name =~ /^big/ ? map { pack 'C a*', 200, 'x' x 200 } 1 .. 100
        : $type == 1 ? pack 'C4', 192, 0, 2, 7 : ();
    return $head->(0x8180, 1, scalar @data, 0, 0)
        . join '', map { pack 'n n n N n a*', 0xc00c, $type, 1, 60, length $_,
                         $_ } @data;
}
my $all = IO::Select->new(values %s);
while (my @ready = $all->can_read) {
    for my $s (@ready) {
        if ($s == $s{udp}) {
            my $from = $s->recv(my $q, 4096) // next;
            my $a = answer($q, 0) // next;
            $s->send($a, 0, $from);
            next;
        }
        my $c = $s->accept // next;
        sysread $c, my $q, 4096;
        my $a = answer(substr($q, 2), 1) // next;
        print $c pack('n', length $a) . $a;
        close $c;
    }
}
PERL
$inside->start('dns', ['perl', $dns, $inside->ip4]);
$lab->write_file('/etc/netns/' . $web->ns . '/resolv.conf',
                 'nameserver ' . $inside->ip4 . "\n");

my $nginx = $lab->nginx(host => $web, module => 1);

sub configure {
    my ($routes) = @_;

    $nginx->configure(
        main => $nginx->tailnet_block($control, $tailnet->{auth_key},
                                      extra => "accept_routes on; $routes"),
        http => <<'HTTP', stream => <<'STREAM');
    upstream via { server 192-168-77-2-via-9:80 tailnet=home; }

    server { listen 80 tailnet=home; return 200 "own\n"; }
    server {
        listen 8080;
        location / { proxy_pass http://via; proxy_connect_timeout 3s; }
    }
    server { listen 127.0.0.1:8000; location / { tailnet_status; } }
HTTP
    log_format flow '$remote_addr $server_addr $tailnet_destination';
    access_log logs/flow.log flow;

    server {
        listen     any tailnet=home capture;
        proxy_pass $tailnet_destination;
    }
STREAM
}

my $via = sprintf $SITE, 7, 2;
my $route = sprintf($SITE, 7, 0) . '/120';

configure("advertise_routes $route;");
$nginx->start;

$peer->cli('set', '--accept-routes',
           '--advertise-routes=' . sprintf($SITE, 9, 0) . '/120');
$peer->wait_peer('web', 20);

subtest 'a router of 4via6' => sub {
    is_deeply($control->wait_routes('web', 1, 20), [$route], 'announced');
    is(page("[$via]", 2), undef, 'not approved: not reached');
    ok($nginx->wait_error_log(30, qr/has approved 1 of 1 routes: \Q$route/),
       'and one line says so');

    $control->approve_routes('web', $route);
    is(becomes("[$via]"), "$NET.2:80\n", 'approved: the host behind');
    is(becomes('192-168-77-2-via-7'), "$NET.2:80\n", 'by its name');
    like($lab->read_file($nginx->prefix . '/logs/flow.log'),
         qr/^\S+ \Q$via\E \Q$NET.2\E:80$/m, 'the log knows both addresses');
    is(page('[' . sprintf($SITE, 7, 1) . ']:8080', 3), undef,
       "not the machine's own address");
};

subtest 'an upstream by 4via6' => sub {
    my $theirs = $control->wait_routes('peer', 1, 20);
    $control->approve_routes('peer', @$theirs);

    is($lab->wait_for(30, 'the far host', sub {
        my $r = $web->get('http://127.0.0.1:8080/', timeout => 5);
        $r->{status} == 200 && $r->{body};
    }), "$NET.2:80\n", 'a name of another site is dialled');
};

subtest 'routes change while the node runs' => sub {
    my $starts = () = $nginx->errors(qr/this node is/);
    my $core = core();

    configure("advertise_routes $route; advertise_exit_node on;");
    $nginx->reload;

    is(scalar @{$control->wait_routes('web', 3, 20)}, 3, 'three of them');
    is(becomes("[$via]"), "$NET.2:80\n", 'what was there still works');
    is(scalar(() = $nginx->errors(qr/this node is/)), $starts,
       'the node was not started again');
    is(core(), $core, 'nor the core');
};

subtest 'DNS for users of the exit node' => sub {
    my ($url) = grep { !/\[/ } @{$lab->wait_for(20, 'the PeerAPI', sub {
        my $u = $peer->peer('web')->{PeerAPIURL};
        $u && @$u && $u }) };

    my $answer = doh($url, 'x.exit.test');
    is($answer->{status}, 200, 'by GET');
    is(rcode($answer), 0, 'without an error');
    like($answer->{body}, qr/\xc0\x00\x02\x07\z/, 'the address');
    is(substr($answer->{body}, 0, 2), "\x00\x07", 'the ID is the question\'s');
    like($answer->{headers}, qr{^Content-Type: application/dns-message\r$}m,
         'as a DNS message');

    $answer = doh($url, 'x.exit.test', post => 1);
    like($answer->{body}, qr/\xc0\x00\x02\x07\z/, 'by POST');
    is(rcode(doh($url, 'none.exit.test')), 3, 'a name that is not there');

    $answer = doh($url, 'big.exit.test', type => 16);
    cmp_ok(length $answer->{body}, '>', 20_000, 'a large answer, by TCP');

    is(rcode(doh($url, 'silent.exit.test')), 2,
       'a server that is silent: SERVFAIL');

    is($peer->get("$url/dns-query?dns=AAAA", timeout => 5)->{status}, 400,
       'no DNS query');
    is($peer->get("$url/dns-query", timeout => 5)->{status}, 400, 'nothing');
    is($peer->get("$url/dns-query", method => 'POST', body => 'x',
                  timeout => 5)->{status}, 400, 'another type');

    # a tailscaled that uses nginx as exit node

    my $leaf = $lab->tailscaled(host => $lab->host('leaf'), tun => 0);

    $control->approve_routes('web', $route, '0.0.0.0/0', '::/0');
    $leaf->up(control => $control,
              auth_key => $control->auth_key(user => 'other'));
    $lab->wait_for(20, 'the exit node', sub {
        ($leaf->peer('web') // {})->{ExitNodeOption} });

    my $own = (grep { !/:/ } @{$leaf->peer('web')->{TailscaleIPs}})[0];
    my $output = '';

    $leaf->cli('set', '--accept-dns', "--exit-node=$own");
    ok(eval { $lab->wait_for(30, 'a name', sub {
        (undef, $output) = $leaf->try_cli('dns', 'query', 'x.exit.test');
        $output =~ /\b192\.0\.2\.7\b/;
    }) }, 'tailscaled asks nginx') or diag($output, $nginx->error_log);
    $leaf->stop;

    like($web->get('http://127.0.0.1:8000/?format=prometheus')->{body},
         qr/^tailnet_peerapi_requests_total\{.*,result="dns"\} \d\d?$/m,
         'counted');
};

subtest 'the end' => sub {
    is($nginx->quit, 0, 'nginx quits');
    ok(eval { $lab->wait_for(10, 'no routes', sub {
        !@{$control->node('web')->{available_routes} // []} }) },
       'and has withdrawn its routes') or diag($nginx->error_log);
    is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
};

done_testing();


sub core {
    return join ' ', $web->processes('tailnet-core');
}


sub page {
    my ($host, $seconds) = @_;
    my $r = $peer->get("http://$host/", timeout => $seconds // 5);

    return $r->{ok} && $r->{status} == 200 ? $r->{body} : undef;
}


sub becomes {
    my ($host) = @_;
    my $got = eval { $lab->wait_for(30, $host, sub { page($host) }) };

    diag($nginx->error_log) unless defined $got;
    return $got;
}


# A question about a name, as a DNS message over the PeerAPI at $url.

sub doh {
    my ($url, $name, %opt) = @_;
    my $from = $opt{peer} // $peer;
    my $query = pack('n6', 7, 0x0100, 1, 0, 0, 0)
        . join('', map { pack 'C/a*', $_ } split /\./, $name)
        . pack('C n n', 0, $opt{type} // 1, 1);
    my $r;

    if ($opt{post}) {
        my $file = $lab->write_file($lab->path('query'), $query);
        $r = $from->get("$url/dns-query", timeout => 20, method => 'POST',
                        headers => ['Content-Type: application/dns-message'],
                        body => "\@$file");

    } else {
        $r = $from->get("$url/dns-query?dns=" . encode_base64url($query),
                        timeout => 20);
    }

    diag($r->{error}) unless $r->{ok};
    return $r;
}


sub rcode {
    my ($answer) = @_;
    return unpack('C', substr $answer->{body}, 3, 1) & 15;
}
