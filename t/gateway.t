#!/usr/bin/perl

# nginx as a subnet router: a real tailscaled reaches a network behind it, by
# routes that headscale approved, and each connection comes to nginx with its
# own destination; what is not captured, not advertised or nginx's own machine
# is refused. Then the same as an exit node.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my ($NET, $NET6) = ('192.168.77', 'fd07:77:');

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $control) = @$tailnet{qw(peer web control)};

# The network behind: addresses that only these two hosts know.

my $inside = $lab->host('inside');

for my $pair ([$web, 1], [$inside, 2], [$inside, 3]) {
    my ($host, $n) = @$pair;

    $host->ip('addr', 'add', "$NET.$n/24", 'dev', 'eth0');
    $host->ip('addr', 'add', "$NET6:$n/64", 'dev', 'eth0', 'nodad');
}

my $site = $lab->nginx(host => $inside, http => <<'HTTP');
    server {
        listen 80;
        listen 8080;
        listen [::]:80;
        location / { return 200 "$server_addr:$server_port\n"; }
    }
HTTP
$site->start;

my $echo = $lab->write_file($lab->path('echo.pl'), <<'PERL');
use strict;
use IO::Socket::IP;
use IO::Select;
my $all = IO::Select->new(map {
    IO::Socket::IP->new(LocalHost => $_, LocalPort => 5353, Proto => 'udp')
        // die $@
} @ARGV);
while (my @ready = $all->can_read) {
    for my $s (@ready) {
        my $from = $s->recv(my $text, 2048) // next;
        $s->send("echo $text", 0, $from);
    }
}
PERL
$inside->start('echo', ['perl', $echo, "$NET.2", "$NET.3", "$NET6:2"]);

# Only an answer from where it was sent to counts.

my $ask = $lab->write_file($lab->path('ask.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my $s = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => 5353,
                            Proto => 'udp') or die $@;
for my $n (1 .. 3) {
    $s->send("hello $n");
    next unless IO::Select->new($s)->can_read(2);
    $s->recv(my $text, 2048) // next;
    print $text;
    last;
}
PERL

my $nginx = $lab->nginx(host => $web, module => 1);

sub configure {
    my (%opt) = @_;
    my $routes = $opt{routes} // "advertise_routes $NET.0/24 $NET6:/64;";

    $nginx->configure(
        main => $nginx->tailnet_block($control, $tailnet->{auth_key},
                                      extra => $routes),
        http => <<'HTTP' . ($opt{http} // ''), stream => $opt{stream} // '');
    server {
        listen 80 tailnet=home;
        return 200 "own\n";
    }

    # the machine's own, not for the tailnet
    server {
        listen 8081;
        return 200 "machine\n";
    }
HTTP
}

my $STREAM = <<'STREAM';
    log_format flow '$remote_addr $server_addr:$server_port $status';
    access_log logs/flow.log flow;

    server {
        listen     any tailnet=home capture;
        proxy_pass $server_addr:$server_port;
    }
STREAM

configure(stream => $STREAM);
$nginx->start;

$peer->cli('set', '--accept-routes');
$peer->wait_peer('web', 20);

my ($own) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
my $routes = $control->wait_routes('web', 2, 20);

is_deeply([sort @$routes], [sort "$NET.0/24", "$NET6:/64"],
          'both routes are announced');

is(page("$NET.2", 2), undef, 'not approved: not reached');

$control->approve_routes('web', @$routes);

$lab->wait_for(20, 'the routes at the peer', sub {
    my $known = $peer->peer('web')->{PrimaryRoutes} // [];
    return @$known == 2;
});

is(page("$NET.2"), "$NET.2:80\n", 'a host behind');
is(page("$NET.3"), "$NET.3:80\n", 'another address of it');
is(page("$NET.2:8080"), "$NET.2:8080\n", 'another port');
is(page("[$NET6:2]"), undef, 'IPv6 needs brackets that $server_addr has not');
is(page($own), "own\n", 'an ordinary listener keeps the own addresses');
is(page("$own:8080"), undef, 'and a captured port is not the own address');
like($lab->read_file($nginx->prefix . "/logs/flow.log"), qr/^100\.64\S+ \Q$NET\E\.2:80 200$/m,
     'the log knows both ends');

is(page("$NET.1:8081"), undef, "the machine's own address is not reached");

my $begin = time();
is(page("$NET.2:9"), undef, 'a port that is closed behind: refused');
cmp_ok(time() - $begin, '<', 4, 'at once');

isnt(($peer->host->capture(qw(ping -c1 -W1), "$NET.9"))[0], 0,
     'nothing answers pings for others');

# By name of the port, in http, and both families; UDP in stream.

configure(http => <<HTTP, stream => <<STREAM);
    server {
        listen 80 tailnet=home capture;
        location / { proxy_pass http://\$tailnet_destination; }
    }
HTTP
    server {
        listen     5353 udp tailnet=home capture;
        proxy_pass \$tailnet_destination;
    }
STREAM
$nginx->reload;

$lab->wait_for(10, 'the new configuration', sub {
    !defined page("$NET.2:8080", 2);
});
pass('a port that is no longer captured is refused');
is(page("$NET.2"), "$NET.2:80\n", 'http: a host behind');
is(page("[$NET6:2]"), "$NET6:2:80\n", 'http: by IPv6');
is(page($own), "own\n", 'the own addresses have their own server');

for my $ip ("$NET.2", "$NET.3", "$NET6:2") {
    like(($peer->host->capture('perl', $ask, $ip))[1], qr/^echo hello/,
         "UDP: $ip answers");
}

# A route less.

configure(routes => "advertise_routes $NET.0/24;", http => <<HTTP);
    server {
        listen 80 tailnet=home capture;
        location / { proxy_pass http://\$tailnet_destination; }
    }
HTTP
$nginx->reload;

$lab->wait_for(20, 'the route is withdrawn', sub {
    @{$control->wait_routes('web', 1, 1) // []} == 1;
});
ok($lab->wait_for(20, 'a page', sub { page("$NET.2", 2) }),
   'the other one still works');

# An exit node that lets TLS to one name through, and no other. The address is
# of nobody's network: only the exit node and the host behind know it.

my $FAR = '203.0.113';

$web->ip('addr', 'add', "$FAR.1/24", 'dev', 'eth0');
$inside->ip('addr', 'add', "$FAR.2/24", 'dev', 'eth0');

my ($cert, $key) = $lab->ca->issue($lab->dir, 'good.test', 'bad.test');

$site->configure(http => <<HTTP);
    server {
        listen 443 ssl;
        ssl_certificate     $cert;
        ssl_certificate_key $key;
        return 200 "\$ssl_server_name\n";
    }
HTTP
$site->reload;

configure(routes => 'advertise_exit_node on;', stream => <<'STREAM');
    map $ssl_preread_server_name $allowed {
        good.test  $tailnet_destination;
    }

    server {
        listen      any tailnet=home capture;
        ssl_preread on;
        proxy_pass  $allowed;
    }
STREAM
$nginx->reload;

is_deeply([sort @{$control->wait_routes('web', 2, 20)}],
          ['0.0.0.0/0', '::/0'], 'an exit node is announced');
$control->approve_routes('web', '0.0.0.0/0', '::/0');
$lab->wait_for(20, 'the exit node at the peer', sub {
    $peer->peer('web')->{ExitNodeOption};
});
$peer->cli('set', "--exit-node=$own");

ok($lab->wait_for(20, 'the far page', sub {
    (tls('good.test', 2) // '') eq "good.test\n";
}), 'exit node: the name that is allowed');
is(tls('bad.test'), undef, 'exit node: another name');
is(page("$FAR.1:8081"), undef, 'and not the machine itself');
is(page('169.254.169.254', 2), undef, 'nor where clouds keep secrets');

$peer->cli('set', '--exit-node=');

done_testing();


sub tls {
    my ($name, $seconds) = @_;
    my $r = $peer->get("https://$name/", timeout => $seconds // 5,
                       resolve => "$name:443:$FAR.2",
                       cacert => $lab->ca->cert);

    return $r->{ok} && $r->{status} == 200 ? $r->{body} : undef;
}


sub page {
    my ($host, $seconds) = @_;
    my $r = $peer->get("http://$host/", timeout => $seconds // 5);

    return $r->{ok} && $r->{status} == 200 ? $r->{body} : undef;
}
