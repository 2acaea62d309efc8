#!/usr/bin/perl

# Everything in nginx that has upstreams, over the tailnet: FastCGI, uwsgi,
# SCGI, gRPC, memcached, WebSocket; what the next upstream gets; addresses
# behind a subnet router; and a peer that comes back with another address,
# used without a reload.

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
my ($peer, $web, $infra, $control)
    = @{$tailnet}{qw(peer web infra control)};

# Servers on the peer that speak just enough of each protocol. Each answers
# with the method, the request's URI and the length of its body.

my $servers = $lab->write_file($lab->path('servers.pl'), <<'PERL');
use strict;
use IO::Select;
use IO::Socket::IP;
sub take { my ($s, $n) = @_; my $b = '';
    while (length $b < $n) { sysread $s, $b, $n - length $b, length $b
        or exit } return $b }
sub answer { my ($m, $u, $n) = @_;
    return "Status: 200\r\nContent-Type: text/plain\r\n\r\n$m $u $n\n" }
sub fcgi { my ($s) = @_; my ($p, $n, $done) = ('', 0);
    until ($done) {
        my ($v, $type, $id, $len, $pad) = unpack 'CCnnCx', take($s, 8);
        my $data = take($s, $len); take($s, $pad);
        $p .= $data if $type == 4;
        if ($type == 5) { $n += $len; $done = $len == 0 }
    }
    my %v;
    while (length $p) { my @l;
        for (1, 2) { my $c = ord $p;
            push @l, $c < 128 ? $c : unpack('N', $p) & 0x7fffffff;
            substr $p, 0, $c < 128 ? 1 : 4, '' }
        my $name = substr $p, 0, $l[0], '';
        $v{$name} = substr $p, 0, $l[1], '' }
    my $a = answer($v{REQUEST_METHOD}, $v{REQUEST_URI}, $n);
    syswrite $s, pack('CCnnCx', 1, 6, 1, length $a, 0) . $a
        . pack('CCnnCx', 1, 6, 1, 0, 0)
        . pack('CCnnCx', 1, 3, 1, 8, 0) . "\0" x 8 }
sub scgi { my ($s) = @_; my $l = '';
    while ((my $c = take($s, 1)) ne ':') { $l .= $c }
    my %v = split /\0/, take($s, $l); take($s, 1);
    take($s, $v{CONTENT_LENGTH});
    syswrite $s, answer(@v{qw(REQUEST_METHOD REQUEST_URI CONTENT_LENGTH)}) }
sub uwsgi { my ($s) = @_;
    my (undef, $len) = unpack 'CvC', take($s, 4);
    my %v = unpack '(v/a*)*', take($s, $len);
    take($s, $v{CONTENT_LENGTH} || 0);
    syswrite $s, answer($v{REQUEST_METHOD}, $v{REQUEST_URI},
                        $v{CONTENT_LENGTH} || 0) }
sub memcached { my ($s) = @_; my $l = '';
    while ((my $c = take($s, 1)) ne "\n") { $l .= $c }
    syswrite $s, "VALUE $1 0 6\r\nstored\r\nEND\r\n" if $l =~ /^get (\S+)/ }
sub websocket { my ($s) = @_; my $h = '';
    until ($h =~ /\r\n\r\n/) { $h .= take($s, 1) }
    syswrite $s, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\n\r\n";
    while (sysread $s, my $b, 65536) { syswrite $s, "echo $b" } }
my %port = (9001 => \&fcgi, 9002 => \&scgi, 9003 => \&uwsgi,
            9004 => \&memcached, 9005 => \&websocket);
$SIG{CHLD} = 'IGNORE';
my %listen = map { my $s = IO::Socket::IP->new(LocalHost => '::', V6Only => 0,
    LocalPort => $_, Listen => 64, ReuseAddr => 1) or die "$_: $@";
    (fileno $s => [$s, $port{$_}]) } keys %port;
my $all = IO::Select->new(map { $_->[0] } values %listen);
while (1) { for my $l ($all->can_read) {
    my $s = $l->accept or next;
    next if fork;
    alarm 30;
    $listen{fileno $l}[1]->($s);
    exit } }
PERL

$peer->host->start('servers', [$^X, $servers]);
$tailnet->{peer_web}->configure(http => <<'HTTP');
    server {
        listen 80;
        listen [::]:80;
        location / { return 200 "$server_addr $http_x_try\n"; }
        location /fail { return 503; }
    }
    server {
        listen 81 http2;
        location / {
            add_header Trailer grpc-status;
            return 200 "$server_protocol $request_method $request_uri\n";
        }
    }
HTTP
$tailnet->{peer_web}->reload;

# An address behind the peer, which advertises it.

$peer->host->run('ip', 'address', 'add', '10.99.0.7/32', 'dev', 'lo');
$peer->cli('set', '--advertise-routes=10.99.0.0/24');

my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => "worker_processes 1;\n"
        . $nginx->tailnet_block($control, $tailnet->{auth_key},
                                extra => 'accept_routes on;'),
    http => <<'HTTP', stream => <<'STREAM');
    upstream fcgi   { server peer:9001 tailnet; keepalive 2; }
    upstream scgi   { server peer:9002 tailnet; }
    upstream uwsgi  { server peer:9003 tailnet; }
    upstream mc     { server peer:9004 tailnet; keepalive 2; }
    upstream ws     { server peer:9005 tailnet; }
    upstream grpc   { server peer:81 tailnet; keepalive 2; }
    upstream behind { server 10.99.0.7:80 tailnet; }
    upstream nobody { server 10.98.0.7:80 tailnet; }
    upstream live   { zone live 64k; server peer:80 tailnet max_fails=0; }
    upstream two    { server peer:89 tailnet max_fails=0;
                      server nobody:80 tailnet max_fails=0;
                      server peer:80 tailnet max_fails=0; }
    upstream status { server peer:80 tailnet max_fails=0;
                      server 127.0.0.1:8001 max_fails=0 backup; }
    map $http_upgrade $connection_upgrade { default upgrade; '' close; }
    add_header X-Upstream "$upstream_addr $upstream_status" always;

    server { listen 127.0.0.1:8001; return 200 "backup\n"; }
    server {
        listen 8000;
        proxy_connect_timeout 3s;

        location /fcgi/ {
            fastcgi_pass  fcgi;
            fastcgi_keep_conn on;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param REQUEST_URI    $request_uri;
        }
        location /scgi/ {
            scgi_pass  scgi;
            scgi_param CONTENT_LENGTH $content_length_or_0;
            scgi_param SCGI           1;
            scgi_param REQUEST_METHOD $request_method;
            scgi_param REQUEST_URI    $request_uri;
        }
        location /uwsgi/ {
            uwsgi_pass  uwsgi;
            uwsgi_param CONTENT_LENGTH $content_length_or_0;
            uwsgi_param REQUEST_METHOD $request_method;
            uwsgi_param REQUEST_URI    $request_uri;
        }
        location /mc/ { set $memcached_key $uri; memcached_pass mc; }
        location /grpc/ { grpc_pass grpc://grpc; }
        location /ws {
            proxy_pass         http://ws;
            proxy_http_version 1.1;
            proxy_set_header   Upgrade $http_upgrade;
            proxy_set_header   Connection $connection_upgrade;
        }
        location /behind/ { proxy_pass http://behind; }
        location /nobody/ { proxy_pass http://nobody; }
        location /live/ { proxy_pass http://live; }
        location /two/ { proxy_pass http://two; }
        location /fail {
            proxy_pass http://status;
            proxy_next_upstream error http_503;
        }
    }
    map $content_length $content_length_or_0 { '' 0; default $content_length; }
HTTP
    upstream behind { server 10.99.0.7:80 tailnet; }
    server { listen 8100; proxy_pass behind; }
STREAM
$nginx->start;

eval { $peer->wait_peer('web', 20) }
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);

my $proxy = 'http://' . $web->ip4 . ':8000';

sub ask { my ($uri, @opt) = @_; return $infra->get("$proxy/$uri", @opt) }

$infra->wait_get("$proxy/live/", seconds => 20);


subtest 'protocols' => sub {
    for my $name (qw(fcgi scgi uwsgi)) {
        is(ask("$name/a?b")->{body}, "GET /$name/a?b 0\n", $name);
        is(ask("$name/p", method => 'POST', body => 'x' x 40000)->{body},
           "POST /$name/p 40000\n", "$name, POST");
        like(ask("$name/a")->{headers}, qr/^X-Upstream: peer:900\d 200\r$/m,
             "$name: \$upstream_addr");
    }

    is(ask('mc/key')->{body}, "stored\r\n" =~ s/\r\n//r, 'memcached');
    is(ask('grpc/service', method => 'POST', body => 'x')->{body},
       "HTTP/2.0 POST /grpc/service\n", "gRPC, $_") for 1 .. 2;
};


subtest 'WebSocket' => sub {
    my $client = 'use IO::Socket::IP; my $s = IO::Socket::IP->new(PeerHost => '
        . 'shift, PeerPort => 8000); print {$s} "GET /ws HTTP/1.1\r\nHost: a'
        . '\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"; $s->flush; '
        . 'alarm 10; my $h = ""; until ($h =~ /\r\n\r\n/) { sysread $s, $h, '
        . '1, length $h or exit } print $h =~ /^\S+ (\d+)/, "\n"; '
        . 'for (1 .. 3) { syswrite $s, "hello"; sysread $s, my $b, 100; '
        . 'print "$b\n" }';

    is(($infra->capture('perl', '-e', $client, $web->ip4))[1],
       "101\n" . "echo hello\n" x 3, 'both ways');
};


subtest 'next upstream' => sub {
    my $reply;

    for (1 .. 3) {
        $reply = ask('two/');
        is($reply->{status}, 200, 'served by the one that is');
    }
    like($reply->{headers}, qr/^X-Upstream: .*peer:80 (?:502, )*200\r$/m,
         'what was tried is shown');

    $reply = ask('fail');
    is($reply->{body}, "backup\n", 'by status, a server of the host');
    like($reply->{headers}, qr/peer:80, 127\.0\.0\.1:8001 503, 200/,
         'both are shown');
};


subtest 'behind a subnet router' => sub {
    is(ask('behind/')->{status}, 502, 'not approved: 502');

    my ($line) = $nginx->errors(qr/connect\(\) to 10\.99\.0\.7:80/);
    like($line // '', qr/no peer is called or routes "10\.99\.0\.7"/,
         'and the reason');

    $control->cli('nodes', 'approve-routes', '--identifier',
                  $control->node('peer')->{id}, '--routes', '10.99.0.0/24');

    my $got = $infra->wait_get("$proxy/behind/", seconds => 20);
    is($got->{body}, "10.99.0.7 \n", 'approved: http')
        or diag($nginx->error_log);
    is($infra->get('http://' . $web->ip4 . ':8100/')->{body},
       "10.99.0.7 \n", 'approved: stream');
    is(ask('nobody/')->{status}, 502, 'an address nobody routes: 502');
};


subtest 'another address' => sub {
    my $before = $peer->ip4;

    is(ask('live/')->{body}, "$before \n", 'the first');

    # It comes again as somebody else: the next address is another's.  (A
    # tailscaled of 1.102 may hang in its logout.)

    $peer->stop;
    $control->delete_node('peer');
    $lab->wait_for(10, 'its end', sub { ask('live/')->{status} != 200 });

    $peer->forget;
    $peer->start;
    $peer->up(control => $control, auth_key => $tailnet->{auth_key},
              hostname => 'peer');
    my ($after) = grep { /\./ } @{$peer->status->{TailscaleIPs}};

    isnt($after, $before, "it has another address: $after");

    my $got = eval { $lab->wait_for(20, 'the new address', sub {
        my $r = ask('live/');
        return $r->{body} eq "$after \n" && $r;
    }) };
    ok($got, 'used without a reload')
        or diag(explain([$control->nodes]), $nginx->error_log);
};


subtest 'the end' => sub {
    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
};

done_testing();
