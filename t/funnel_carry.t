#!/usr/bin/perl

# What connections through Funnel carry: half-closed ones, WebSocket, client
# certificates, TLS that is passed through; limits by the address of the
# client on the Internet; and a worker that is killed under them.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5 qw(md5_hex);
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1);
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};
my $nginx = $lab->nginx(host => $web, module => 1);
my $client = $lab->host('client');

# What is behind nginx: one that answers once it has all, one that ends before
# it has anything, and one that speaks WebSocket.

my $servers = $lab->write_file($lab->path('servers.pl'), <<'PERL');
use strict; use IO::Select; use IO::Socket::IP;

$| = 1;
$SIG{CHLD} = 'IGNORE';

sub count { my ($s) = @_; my $n = 0;
    while (my $got = sysread $s, my $b, 65536) { $n += $got }
    return $n }
sub all { my ($s) = @_; my $n = count($s); syswrite $s, "got $n" }
sub ended { my ($s) = @_; syswrite $s, 'bye'; shutdown $s, 1;
    print 'after the end: ', count($s), "\n" }
sub websocket { my ($s) = @_; my $h = '';
    until ($h =~ /\r\n\r\n/) { sysread $s, $h, 1, length $h or exit }
    syswrite $s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\n\r\n";
    while (sysread $s, my $b, 65536) { syswrite $s, "echo $b" } }

my %port = (9001 => \&all, 9002 => \&ended, 9003 => \&websocket);
my %listen = map { my $s = IO::Socket::IP->new(LocalHost => '0.0.0.0',
    LocalPort => $_, Listen => 64, ReuseAddr => 1) or die "$_: $@";
    (fileno $s => [$s, $port{$_}]) } keys %port;
my $select = IO::Select->new(map { $_->[0] } values %listen);
while (1) { for my $l ($select->can_read) {
    my $s = $l->accept or next;
    next if fork;
    alarm 60;
    $listen{fileno $l}[1]->($s);
    exit } }
PERL
my $behind = $infra->start('servers', [$^X, $servers]);
my $to = $infra->ip4;

my ($cert, $key) = $lab->ca->issue($nginx->prefix, 'web.lab.test');
my $alice = $lab->path('alice');
$lab->run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
          'ec_paramgen_curve:P-256', '-nodes', '-days', 2, '-subj',
          '/CN=alice', '-keyout', "$alice.key", '-out', "$alice.crt");
chmod 0644, "$alice.crt";

$nginx->configure(
    main => "worker_processes 2;\n"
        . $nginx->tailnet_block($control, $tailnet->{auth_key}),
    http => <<"HTTP", stream => <<"STREAM");
    ssl_certificate     $cert;
    ssl_certificate_key $key;

    limit_req_zone  \$binary_remote_addr zone=req:1m rate=1r/m;
    limit_conn_zone \$binary_remote_addr zone=conn:1m;
    geo \$where { default elsewhere; 203.0.113.0/24 there; }

    server {
        listen 443 ssl tailnet=home funnel;
        location / { try_files /page =404; }
        location /where { return 200 "\$where \$remote_addr"; }
        location /req { limit_req zone=req; limit_req_status 429;
                        try_files /page =404; }
        location /conn/ { limit_conn conn 1; limit_rate 200k; alias html/; }
        location /slow/ { limit_rate 2m; add_header X-Pid \$pid; alias html/; }
        location /ws {
            proxy_pass         http://$to:9003;
            proxy_http_version 1.1;
            proxy_set_header   Upgrade \$http_upgrade;
            proxy_set_header   Connection upgrade;
        }
    }
    server {
        listen 8083 ssl tailnet=home funnel;
        ssl_client_certificate $alice.crt;
        ssl_verify_client on;
        return 200 "\$ssl_client_s_dn";
    }
    server {
        listen 127.0.0.1:7443 ssl proxy_protocol;
        return 200 "\$proxy_protocol_addr \$ssl_server_name";
    }
HTTP
    map \$ssl_preread_server_name \$backend {
        web.lab.test 127.0.0.1:7443;
    }
    server { listen 8081 tailnet=home funnel; proxy_half_close on;
             proxy_pass $to:9001; }
    server { listen 8082 tailnet=home funnel; proxy_half_close on;
             proxy_pass $to:9002; }
    server { listen 8085 tailnet=home funnel; return let_in;
             tailnet_allow funnel; tailnet_deny all; }
    server { listen 8086 tailnet=home funnel; return let_in;
             tailnet_allow all; tailnet_deny all; }
    server { listen 8084 tailnet=home funnel; ssl_preread on;
             proxy_protocol on; proxy_pass \$backend; }
STREAM

$nginx->write('html/page', 'a page');
$nginx->write('html/big', join '', map { chr rand 256 } 1 .. 8 << 20);
my $digest = md5_hex($lab->read_file($nginx->prefix . '/html/big'));
$nginx->start;

$peer->wait_peer('web', 20);
$control->call(POST => '/cap-map?node=' . $control->node('web')->{Key}, {
    https => undef, funnel => undef,
    'https://tailscale.com/cap/funnel-ports?ports=443,8080-8090' => undef,
});
ok($nginx->wait_error_log(15, qr/Funnel to port $_ is on/), "port $_")
    for 443, 8081 .. 8086;

my ($api) = map { s{^http://}{}r } grep { !/\[/ } @{
    $lab->wait_for(15, 'the PeerAPI to be announced', sub {
        my $u = $peer->peer('web')->{PeerAPIURL};
        ref $u && @$u == 2 ? $u : undef;
    })
};

sub relay {
    my ($port, $target, @args) = @_;
    my $p = $peer->host->start("ingress-$port", [$lab->bin('ingress'),
        "-listen=:$port", '-peerapi', $api, "-target=web.lab.test:$target",
        @args]);
    $p->wait_until(5, 'the port', sub { $peer->host->accepts($port) });
}

relay(4443, 443);
relay(4444, 443, '-src=203.0.113.7:1000');
relay($_, $_) for 8081 .. 8086;

my $relay = $peer->host->ip4;

sub get {
    my ($path, %opt) = @_;
    my $port = delete $opt{port} // 4443;

    return $client->get("https://web.lab.test:$port$path", timeout => 20,
        cacert => $lab->ca->cert, resolve => "web.lab.test:$port:$relay",
        %opt);
}

is($client->wait_get("https://web.lab.test:4443/", cacert => $lab->ca->cert,
                     resolve => "web.lab.test:4443:$relay")->{body},
   'a page', 'a page');

# Half-closed, from either side: the other direction goes on.

sub perl {
    my ($name, $text, @args) = @_;
    my $file = $lab->write_file($lab->path("$name.pl"),
        "use strict; use IO::Socket::INET; alarm 60;\n$text");
    my (undef, $out) = $client->capture($^X, $file, @args);
    return $out;
}

my $bytes = 2 << 20;

is(perl('all', <<'PERL', "$relay:8081", $bytes), "got $bytes",
my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die "$!\n";
print $s 'x' x $ARGV[1];
$s->flush;
shutdown $s, 1;
local $/;
print <$s>;
PERL
   'the client has no more to say, and is answered');

is(perl('ended', <<'PERL', "$relay:8082", $bytes), 'bye',
my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die "$!\n";
{ local $/; print scalar <$s> }
print $s 'x' x $ARGV[1];
close $s;
PERL
   'the server has no more to say');
ok(eval { $behind->wait_until(20, 'the rest',
          sub { $behind->log =~ /^after the end: $bytes$/m }) },
   'and hears all the same') or diag $behind->log;

# WebSocket, over TLS.

is(perl('ws', <<'PERL', $relay, $lab->ca->cert), 'echo one echo two ',
use IPC::Open2;
my $pid = open2(my $in, my $out, 'sh', '-c', 'exec openssl "$@" 2>/dev/null',
    'sh', 's_client', '-quiet', '-connect', "$ARGV[0]:4443", '-servername',
    'web.lab.test', '-CAfile', $ARGV[1], '-verify_return_error');
syswrite $out, "GET /ws HTTP/1.1\r\nHost: web.lab.test\r\nUpgrade: websocket"
    . "\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    . "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
my $h = '';
until ($h =~ /\r\n\r\n/) { sysread $in, $h, 1, length $h or die "$h\n" }
$h =~ m{^HTTP/1.1 101 } or die $h;
for my $word ('one ', 'two ') {
    my $want = length("echo $word");
    my $got = '';
    syswrite $out, $word;
    while (length $got < $want) { sysread $in, $got, 99, length $got or die }
    print $got;
}
kill TERM => $pid;
PERL
   'WebSocket');

# Client certificates; TLS that another server ends.

is(get('/', port => 8083, args => ['--cert', "$alice.crt", '--key',
                                   "$alice.key"])->{body}, 'CN=alice',
   'a client certificate');
is(get('/', port => 8083)->{status}, 400, 'which is required');

is(get('/', port => 8084)->{body}, $client->ip4 . ' web.lab.test',
   'ssl_preread passes TLS through');

# Rules of stream.

sub stream_says {
    my ($port) = @_;
    return perl('read', <<'PERL', "$relay:$port");
my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0]) or die "$!\n";
local $/;
print <$s> // '';
PERL
}

is(stream_says(8085), 'let_in', 'stream lets Funnel in where it is said');
is(stream_says(8086), '', 'and not with the tailnet');

# Two addresses on the Internet are two clients, whatever they come by.

is(get('/where')->{body}, 'elsewhere ' . $client->ip4, 'geo');
is(get('/where', port => 4444)->{body}, 'there 203.0.113.7',
   'of another client');

is(get('/req')->{status}, 200, 'limit_req');
is(get('/req')->{status}, 429, 'has an end');
is(get('/req', port => 4444)->{status}, 200, 'for each client');

my $held = $client->start('held', ['curl', '-s', '-m', 60, '-o', '/dev/null',
    '--cacert', $lab->ca->cert, '--resolve', "web.lab.test:4443:$relay",
    'https://web.lab.test:4443/conn/big']);
ok(eval { $lab->wait_for(20, 'limit_conn', sub {
    get('/conn/page')->{status} == 503
}) }, 'limit_conn') or diag $held->log;
is(get('/conn/page', port => 4444)->{status}, 200, 'for each client, too');
$held->stop;

# A worker is killed: it takes its own transfers along and no others.

my %transfer;

sub transfer {
    my ($name) = @_;
    my $base = $lab->path("transfer-$name");

    return $transfer{$name} //= { base => $base, process =>
        $client->start("transfer-$name", ['curl', '-s', '-m', 60, '-o',
            "$base.body", '-D', "$base.head", '--cacert', $lab->ca->cert,
            '--resolve', "web.lab.test:4443:$relay",
            'https://web.lab.test:4443/slow/big']) };
}

sub worker_of {
    my ($t) = @_;
    return -e "$t->{base}.head"
        && $lab->read_file("$t->{base}.head") =~ /^X-Pid: (\d+)/mi ? $1 : 0;
}

transfer($_) for 1 .. 8;
my $killed = $lab->wait_for(20, 'transfers under way', sub {
    my %by;
    push @{$by{worker_of($_)}}, $_ for values %transfer;
    return undef if $by{0};
    return worker_of($transfer{keys %transfer}) if keys %by == 2;
    transfer(1 + keys %transfer) if keys %transfer < 40;
    return undef;
});

kill KILL => $killed;

my (%lost, %whole);

for my $name (keys %transfer) {
    my $t = $transfer{$name};
    my $pid = worker_of($t);

    $lab->wait_for(60, 'its end', sub { !$t->{process}->alive });
    my $good = $t->{process}->status == 0
        && md5_hex($lab->read_file("$t->{base}.body")) eq $digest;
    ($good ? $whole{$pid} : $lost{$pid})++;
}

is(join(' ', keys %lost), $killed, 'only the killed worker\'s are lost')
    or diag explain { lost => \%lost, whole => \%whole, killed => $killed };
is(scalar keys %whole, 1, 'the others are complete');
is(get('/')->{body}, 'a page', 'and new ones are served');

is($nginx->quit, 0, 'nginx quits');

my @alerts = grep { !/process $killed exited on signal 9/ }
    $nginx->errors(qr/\[(alert|crit|emerg)\]/);
is(@alerts, 0, 'no alerts') or diag join "\n", @alerts;

done_testing();
