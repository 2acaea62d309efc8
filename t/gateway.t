#!/usr/bin/perl

# nginx as a gateway, by the configurations of docs/gateway.md as they stand
# there: a real tailscaled reaches a network behind it, by routes that headscale
# approved, and each connection comes to nginx with its own destination; what
# is not captured, not advertised or nginx's own machine is refused; scans and
# floods leave others alone; a way that leads back into itself is noticed.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $LWIP = ($ENV{TAILNET_STACK} // '') eq 'lwip';
my $DOC = Tailnet::Lab->read_file("$FindBin::Bin/../docs/gateway.md");

my ($NET, $NET6) = ('192.168.77', 'fd07:77:');
my $turned;

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $control) = @$tailnet{qw(peer web control)};
my $auth_key = $tailnet->{auth_key};

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

# Pings are passed on by nginx's user.

$web->run('sh', '-c',
          'echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range');

my $echo = $lab->write_file($lab->path('echo.pl'), <<'PERL');
use strict;
use IO::Socket::IP;
use IO::Select;
my $port = shift;
my $all = IO::Select->new(map {
    IO::Socket::IP->new(LocalHost => $_, LocalPort => $port, Proto => 'udp')
        // die $@
} @ARGV);
while (my @ready = $all->can_read) {
    for my $s (@ready) {
        my $from = $s->recv(my $text, 2048) // next;
        $s->send("$port $text", 0, $from);
    }
}
PERL
$inside->start("echo$_", ['perl', $echo, $_, "$NET.2", "$NET.3", "$NET6:2"])
    for 5353, 5354;

# Only an answer from where it was sent to counts.

my $ask = $lab->write_file($lab->path('ask.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my ($ip, $port, $own) = @ARGV;
my $s = IO::Socket::IP->new(PeerHost => $ip, PeerPort => $port,
                            $own ? (LocalPort => $own) : (), Proto => 'udp')
    or die $@;
for my $n (1 .. 5) {
    $s->send("hello");
    next unless IO::Select->new($s)->can_read(2);
    $s->recv(my $text, 2048) // next;
    print $text;
    last;
}
PERL

# What becomes of a connection that says nothing.

my $knock = $lab->write_file($lab->path('knock.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my $s = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1],
                            Timeout => $ARGV[2] // 10);
if (!$s) { print "$!"; exit }
if (!IO::Select->new($s)->can_read(3)) { print 'open'; exit }
my $n = sysread($s, my $text, 1);
print defined $n ? 'end' : "open, $!";
PERL

# What becomes of a datagram: an answer, an error, or nothing.

my $toss = $lab->write_file($lab->path('toss.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my $s = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1],
                            Proto => 'udp') or die $@;
for my $n (1 .. 3) {
    last unless defined $s->send("hello");
    next unless IO::Select->new($s)->can_read(2);
    if (defined $s->recv(my $text, 2048)) { print "answer"; exit }
    last;
}
print "$!" || 'silence';
PERL

# Asks from one socket again and again, and writes a line for each answer.

my $talk = $lab->write_file($lab->path('talk.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
$| = 1;
my ($port, @ips) = @ARGV;
my %s = map { $_ => IO::Socket::IP->new(PeerHost => $_, PeerPort => $port,
                                        Proto => 'udp') // die $@ } @ips;
while (1) {
    for my $ip (@ips) {
        $s{$ip}->send("hello");
        next unless IO::Select->new($s{$ip})->can_read(0.3);
        $s{$ip}->recv(my $text, 2048) // next;
        print "$ip $text\n";
    }
    select undef, undef, undef, 0.05;
}
PERL

# Opens so many connections and tells how many of them have ended: at once
# when these are as many as are wanted, or after some seconds.

my $hold = $lab->write_file($lab->path('hold.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my ($ip, $port, $n, $want) = @ARGV;
my $all = IO::Select->new;
for (1 .. $n) {
    $all->add(IO::Socket::IP->new(PeerHost => $ip, PeerPort => $port) // next);
}
my $end = time + 8;
while ($all->count > $n - $want && time < $end) {
    $all->remove($all->can_read(1));
}
sleep 1;
$all->remove($all->can_read(0));
print $n - $all->count;
PERL

# All ports of a range at a time; those that are open.

my $scan = $lab->write_file($lab->path('scan.pl'), <<'PERL');
use strict;
use IO::Poll qw(POLLOUT);
use Socket;
my ($ip, $first, $last) = @ARGV;
my $poll = IO::Poll->new;
my (%port, @open);
for my $p ($first .. $last) {
    socket(my $s, PF_INET, SOCK_STREAM, 0) or die $!;
    IO::Handle::blocking($s, 0);
    connect($s, pack_sockaddr_in($p, inet_aton($ip)));
    $port{$s} = $p;
    $poll->mask($s => POLLOUT);
}
my $end = time + 20;
while ($poll->handles && time < $end) {
    $poll->poll(1);
    for my $s ($poll->handles(~0)) {
        my $err = unpack 'i', getsockopt($s, SOL_SOCKET, SO_ERROR);
        push @open, $port{$s} unless $err;
        $poll->remove($s);
    }
}
print join ' ', sort({ $a <=> $b } @open),
    scalar($poll->handles) ? 'and some silent' : ();
PERL

# SYNs that nothing follows, from a new port and to another address each.

my $flood = $lab->write_file($lab->path('flood.pl'), <<'PERL');
use strict;
use Socket;
use Time::HiRes qw(sleep);
my ($from, $net, $port, $n) = @ARGV;
socket(my $s, PF_INET, SOCK_RAW, getprotobyname('tcp')) or die $!;
sub sum {
    my $sum = unpack '%32n*', $_[0];
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    return ~$sum & 0xffff;
}
for my $i (1 .. $n) {
    my $to = inet_aton("$net." . (2 + $i % 200));
    my @tcp = (1024 + $i % 60000, $port, rand 2**32, 0, 5 << 12 | 2, 65535);
    my $tcp = pack 'nnNNnnnn', @tcp, 0, 0;
    my $sum = sum(inet_aton($from) . $to . pack('nn', 6, 20) . $tcp);
    send $s, pack('nnNNnnnn', @tcp, $sum, 0), 0, pack_sockaddr_in(0, $to);
    sleep 0.01 unless $i % 100;
}
print 'done';
PERL

# One of five pings is answered, by whom it went to.

my $ping = $lab->write_file($lab->path('ping.pl'), <<'PERL');
use strict;
use IO::Select;
use Socket qw(:DEFAULT getaddrinfo);
my (undef, $to) = getaddrinfo($ARGV[0], '', { socktype => SOCK_RAW });
my $six = $to->{family} == AF_INET6;
socket(my $s, $to->{family}, SOCK_RAW, $six ? 58 : 1) or die $!;
for my $seq (1 .. 5) {
    my $body = pack('nn', $$ & 0xffff, $seq) . 'x' x 100;
    my $sum = unpack '%32n*', pack('CCn', 8, 0, 0) . $body;
    $sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
    send $s, pack('CCn', $six ? 128 : 8, 0, ~$sum & 0xffff) . $body, 0,
        $to->{addr};
    my $end = time + 2;
    while (time < $end && IO::Select->new($s)->can_read(1)) {
        my $from = recv($s, my $got, 2048, 0) // next;
        substr($got, 0, 20, '') unless $six;
        next unless unpack('C', $got) == ($six ? 129 : 0)
            && substr($got, 4) eq $body;
        print 'answered';
        exit;
    }
}
PERL

# How the other end closes TCP below a connection of TLS that says nothing.

my $below = $lab->write_file($lab->path('below.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
my $l = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0,
                            Listen => 1) or die $@;
my $pid = fork // die $!;
if (!$pid) {
    open STDIN, '<', '/dev/null';
    open STDOUT, '>', '/dev/null';
    open STDERR, '>&', \*STDOUT;
    exec qw(openssl s_client -ign_eof -connect), '127.0.0.1:' . $l->sockport;
}
my $c = $l->accept;
my $s = IO::Socket::IP->new(PeerHost => $ARGV[0], PeerPort => $ARGV[1])
    or die $@;
my ($all, $got) = (IO::Select->new($c, $s), 0);
alarm 10;
while (my @ready = $all->can_read) {
    for my $from (@ready) {
        my $n = sysread $from, my $text, 65536;
        if ($from == $s && !$n) {
            print $got > 400 ? 'TLS, ' : '', defined $n ? 'end' : "$!";
            kill TERM => $pid;
            exit;
        }
        $all->remove($c), next unless $n;
        $got += $n if $from == $s;
        syswrite $from == $s ? $c : $s, $text;
    }
}
PERL

my $nginx = $lab->nginx(host => $web, module => 1);
my ($crt, $crt_key) = $lab->ca->issue($nginx->prefix, 'any.example');

# A configuration of the document: what it has in tailnet and stream.

sub recipe {
    my ($title) = @_;
    my ($text) = $DOC =~ /^## \Q$title\E\n.*?^```nginx\n(.*?)^```/ms
        or die "no \"$title\" in the document";
    my ($tailnet) = $text =~ /^tailnet home \{\n(.*?)^\}/ms;
    my ($stream) = $text =~ /^stream \{\n(.*?)^\}/ms;

    $tailnet =~ s/^\s*auth_key.*\n//m or die 'an auth_key expected';

    return ($tailnet, $stream);
}

sub configure {
    my ($tailnet, $stream, $http) = @_;

    $nginx->configure(
        main => $nginx->tailnet_block($control, $auth_key, extra => $tailnet),
        stream => $stream,
        http => <<'HTTP' . ($http // ''));
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

my $log = $nginx->prefix . '/logs/error.log';

# --- a subnet router

configure(recipe('A subnet router'));
$nginx->start;

$peer->cli('set', '--accept-routes');
$peer->wait_peer('web', 20);

my ($own) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
my ($self) = grep { !/:/ } @{$peer->status->{Self}{TailscaleIPs}};
my $routes = $control->wait_routes('web', 2, 20);

is_deeply([sort @$routes], [sort "$NET.0/24", "$NET6:/64"],
          'both routes are announced');

is(page("$NET.2", 2), undef, 'not approved: not reached');

$control->approve_routes('web', @$routes);

$lab->wait_for(20, 'the routes at the peer', sub {
    my $known = $peer->peer('web')->{PrimaryRoutes} // [];
    return @$known == 2;
});

ok($lab->wait_for(20, 'a page', sub { page("$NET.2", 2) }),
   'a host behind');
is(page("$NET.2"), "$NET.2:80\n", 'is the one that was asked for');
is(page("$NET.3"), "$NET.3:80\n", 'another address of it');
is(page("$NET.2:8080"), "$NET.2:8080\n", 'another port');
is(page("[$NET6:2]"), "$NET6:2:80\n", 'by IPv6');
is(page($own), "own\n", 'an ordinary listener keeps the own addresses');
is(page("$own:8080", 3), undef, 'and a captured port is not the own address');
is(page("$NET.1:8081", 3), undef,
   "the machine's own address is not reached");
like($lab->read_file($log), qr/ \Q$self\E wants \Q$NET.1\E, which is of this /,
     'and a line says so');

is(knock("$NET.2", 9), 'Connection refused', 'probe: what refuses is refused');
is(knock("$NET6:2", 9), 'Connection refused', 'probe: by IPv6');
is(knock("$NET.9", 80), 'No route to host', 'probe: nobody there');
is(knock("$NET.2", 80), 'open', 'probe: what accepts is open');

for my $ip ("$NET.2", "$NET.3", "$NET6:2") {
    is(ask($ip, 5353), '5353 hello', "UDP: $ip answers");
}

is(ask("$NET.2", $_, 4000), "$_ hello", "UDP: port $_ from the same socket")
    for 5353, 5354, 5353;

is(toss($_, 9), 'Connection refused', "UDP: $_ refuses")
    for "$NET.2", "$NET6:2";

is(($peer->host->capture('perl', $ping, $_))[1], 'answered', "ping: $_")
    for "$NET.2", "$NET6:2";
is(($peer->host->capture('perl', $ping, $_))[1], '', "no ping: $_")
    for "$NET.9";

is(($peer->host->capture('perl', $scan, "$NET.2", 1, 200))[1], '80',
   'a scan of 200 ports finds those that are open');

my $flooder = $peer->host->start('flood',
    ['perl', $flood, $self, $NET, 81, 20_000]);

ok($lab->wait_for(20, 'a page in a flood', sub { page("$NET.3", 2) }),
   'probe: SYNs without end to others, and a page all the same');
$flooder->stop;

# A way that leads back: what nginx sends goes to the tailnet again.

my $beside = $lab->tailscaled(host => $web);

$beside->up(control => $control, auth_key => $auth_key);
$beside->cli('set', '--accept-routes');

ok($lab->wait_for(20, 'the loop', sub {
    page("$NET.2", 2);
    $lab->read_file($log) =~ /the way of this machine to \Q$NET\E\.2:80 leads/;
}), 'a capture that forwards into itself: one line');
is(page("$NET.2", 4), undef, 'and it is refused');

my @lines = $lab->read_file($log) =~ /^(.* leads over the tailnet .*)$/mg;
is(@lines, 1, 'only one') or diag(@lines);

$beside->cli('set', '--accept-routes=false');
$beside->cli('down');
ok($lab->wait_for(20, 'a page', sub { page("$NET.2", 2) }),
   'the way is another again');

# The same by another machine: the client's, which hides who it forwards for.

circle("$NET.3");
ok($lab->wait_for(40, 'the circle', sub {
    page("$NET.3", 1);
    $lab->read_file($log)
        =~ /flow after flow comes from \Q$self\E for \Q$NET\E/;
}), 'a circle through another router: one line')
    or diag($lab->read_file($log));
like(knock("$NET.3", 80), qr/refused/, 'and it is refused');
is(page("$NET.2"), "$NET.2:80\n", 'another host meanwhile');
circle();

# --- the core dies while flows stand

my $talker = $peer->host->start('talk', ['perl', $talk, 5354, "$NET.2",
                                         "$NET6:2"]);
my $said = sub {
    my $text = $talker->log;
    return [map { my $ip = $_; scalar(() = $text =~ /^\Q$ip\E /mg) }
            "$NET.2", "$NET6:2"];
};

ok($lab->wait_for(20, 'flows', sub { !grep { $_ < 3 } @{$said->()} }),
   'UDP: flows stand');

my @core = $web->processes('tailnet-core');
is(@core, 1, 'there is one core');
kill 'KILL', @core;
$lab->wait_for(20, 'another core', sub {
    my @now = $web->processes('tailnet-core');
    return @now == 1 && $now[0] != $core[0];
});

my $before = $said->();
ok(eval { $lab->wait_for(40, 'the flows', sub {
    my $now = $said->();
    return !grep { $now->[$_] < $before->[$_] + 3 } 0, 1;
}) }, 'UDP: they go on with the next core, without a reload')
    or diag(explain($before, $said->()), $nginx->error_log);
$talker->stop;

# --- by name of the port, in http and stream, beside those of all ports

configure((recipe('A subnet router'))[0], <<"STREAM", <<'HTTP');
    server {
        listen 5353 udp tailnet=home capture;
        return "named \$server_port";
    }
    server {
        listen     any udp tailnet=home capture;
        proxy_pass \$tailnet_destination;
    }
    server {
        listen     9 tailnet=home capture;
        proxy_pass \$tailnet_destination;
    }
    server {
        listen     853 ssl tailnet=home capture;
        proxy_pass \$tailnet_destination;

        ssl_certificate     $crt;
        ssl_certificate_key $crt_key;
    }
STREAM
    server {
        listen 80 tailnet=home capture;
        location / { proxy_pass http://$tailnet_destination; }
    }
HTTP
$nginx->reload;

$lab->wait_for(20, 'the new configuration', sub {
    ask("$NET.2", 5353) eq 'named 5353' && !defined page("$NET.2:8080", 2);
});
pass('a port that is no longer captured is refused');
is(page("$NET.2"), "$NET.2:80\n", 'http: a host behind');
is(page("[$NET6:2]"), "$NET6:2:80\n", 'http: by IPv6');
is(page($own), "own\n", 'the own addresses have their own server');
is(ask("$NET.2", 5353), 'named 5353', 'UDP: a port with its own listener');
is(ask("$NET.2", 5354), '5354 hello', 'UDP: and all others');
like(knock("$NET.2", 9), qr/reset by peer$/, 'what refuses is reset');
is(($peer->host->capture('perl', $below, "$NET.2", 853))[1], 'TLS, end',
   'but for TLS, which has been answered');

# A route less.

configure("advertise_routes $NET.0/24;", undef, <<'HTTP');
    server {
        listen 80 tailnet=home capture;
        location / { proxy_pass http://$tailnet_destination; }
    }
HTTP
$nginx->reload;

$lab->wait_for(20, 'the route is withdrawn', sub {
    @{$control->wait_routes('web', 1, 1) // []} == 1;
});
ok($lab->wait_for(20, 'a page', sub { page("$NET.2", 2) }),
   'the other one still works');

# --- an exit node that lets TLS to one name through, and no other

# The address is of nobody's network: only nginx's host and the one behind it
# know it.

my $FAR = '203.0.113';

$web->ip('addr', 'add', "$FAR.1/24", 'dev', 'eth0');
$inside->ip('addr', 'add', "$FAR.$_/24", 'dev', 'eth0') for 2, 3;

my ($cert, $key) = $lab->ca->issue($lab->dir, 'good.example', 'bad.example');

$site->configure(http => <<HTTP);
    server {
        listen 80;
        listen 443 ssl;
        ssl_certificate     $cert;
        ssl_certificate_key $key;
        return 200 "\$ssl_server_name\$server_addr\n";
    }
HTTP
$site->reload;

configure(recipe('A list of names that may be reached'));
$nginx->reload;

is_deeply([sort @{$control->wait_routes('web', 2, 20)}],
          ['0.0.0.0/0', '::/0'], 'an exit node is announced');
$control->approve_routes('web', '0.0.0.0/0', '::/0');
$lab->wait_for(20, 'the exit node at the peer', sub {
    $peer->peer('web')->{ExitNodeOption};
});
$peer->cli('set', "--exit-node=$own");

ok($lab->wait_for(20, 'the far page', sub {
    (tls('good.example', 2) // '') eq "good.example$FAR.2\n";
}), 'exit node: the name that is allowed');
is(tls('bad.example'), undef, 'exit node: another name');

# A circle again, of connections that nginx has accepted.

circle("$FAR.3");
ok($lab->wait_for(40, 'the circle', sub {
    tls('good.example', 1, "$FAR.3");
    $lab->read_file($log)
        =~ /flow after flow comes from \Q$self\E for \Q$FAR\E/;
}), 'a circle of connections: one line')
    or diag($lab->read_file($log));
circle();

# --- an exit node with limits

configure(recipe('An exit node with limits'));
$nginx->reload;

ok($lab->wait_for(20, 'the far page', sub { page("$FAR.2", 2) }),
   'exit node: any page');
ok($lab->wait_for(10, 'a line in the log', sub {
    $lab->read_file($nginx->prefix . '/logs/flow.log')
        =~ /^\Q$self $FAR\E\.2:80 200 \d+ \d+ /m;
}), 'the log knows both ends');
is(page("$FAR.1:8081", 3), undef, 'and not the machine itself');
is(page('169.254.169.254', 2), undef, 'nor where clouds keep secrets');
is(page("[64:ff9b::$_]:8081", 2), undef, 'nor by an address in an address')
    for 'cb00:7101';

like(knock("$FAR.2", 9), qr/Connection reset by peer$/,
     'what refuses is open and then reset');
is(toss("$FAR.2", 5353), 'Connection refused',
   'UDP that nothing captures is refused');

ok($lab->wait_for(30, 'the limit', sub {
    ($peer->host->capture('perl', $hold, "$FAR.2", 80, 25, 5))[1] == 5;
}), 'a peer has no more connections than the limit');

$flooder = $peer->host->start('flood2',
    ['perl', $flood, $self, $FAR, 80, 20_000]);

ok($lab->wait_for(20, 'a page in a flood', sub { page("$FAR.2", 2) }),
   'SYNs without end, and a page all the same');
$flooder->stop;

$peer->cli('set', '--exit-node=');

done_testing();


# Makes the way of nginx's machine to this address lead over the client's, which
# sends it to the tailnet; without an address not any more.



sub circle {
    my ($ip) = @_;
    my $on = defined $ip ? 1 : 0;

    $web->ip('route', $on ? 'add' : 'del', ($turned = $ip // $turned) . '/32',
             'via', $peer->host->ip4);
    $peer->host->run('sh', '-c', "echo $on > /proc/sys/net/ipv4/ip_forward");
    $peer->host->nft($on ? <<'NFT' : 'delete table ip lab_circle');
table ip lab_circle {
    chain out { type nat hook postrouting priority 100;
                iifname "eth0" oifname "tailscale0" masquerade; }
}
NFT
}


sub ask {
    return ($peer->host->capture('perl', $ask, @_))[1];
}


sub knock {
    return ($peer->host->capture('perl', $knock, @_))[1];
}


sub toss {
    return ($peer->host->capture('perl', $toss, @_))[1];
}


sub tls {
    my ($name, $seconds, $ip) = @_;
    my $r = $peer->get("https://$name/", timeout => $seconds // 5,
                       resolve => "$name:443:" . ($ip // "$FAR.2"),
                       cacert => $lab->ca->cert);

    return $r->{ok} && $r->{status} == 200 ? $r->{body} : undef;
}


sub page {
    my ($host, $seconds) = @_;
    my $r = $peer->get("http://$host/", timeout => $seconds // 5);

    return $r->{ok} && $r->{status} == 200 ? $r->{body} : undef;
}
