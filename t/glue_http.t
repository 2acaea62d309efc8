#!/usr/bin/perl

# What http does with tailnet listeners and servers, against a real tailscaled:
# parameters of listen, TLS, HTTP/2, virtual servers; every stock balancer,
# zones, keepalive, failures, timeouts, retries, TLS to the upstream; clients
# that go away; and dials while the core is being started again.

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
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};
my $peer4 = $peer->ip4;

# Servers on the peer. 83 does not answer, on 89 there is none.

my ($peer_crt, $peer_key) = $lab->ca->issue($tailnet->{peer_web}->prefix,
                                            'peer.lab.test');

$tailnet->{peer_web}->configure(http => join "\n", map({ <<"SERVER" } 81, 82),
    server {
        listen $_;
        location / { return 200 "$_\\n"; }
        location /connection { return 200 "$_ \$connection\\n"; }
        location /post { proxy_pass http://127.0.0.1:$_/length; }
        location /length { return 200 "\$content_length\\n"; }
    }
SERVER
    <<"TLS");
    server {
        listen 443 ssl;
        ssl_certificate     $peer_crt;
        ssl_certificate_key $peer_key;
        return 200 "\$ssl_server_name \$ssl_session_reused\\n";
    }
TLS
$tailnet->{peer_web}->reload;
$peer->host->nft('table inet lab_83 { chain in { '
                 . 'type filter hook input priority 0; '
                 . 'tcp dport 83 drop; }; }');

# nginx. Its own host listener is what $infra asks.

my $nginx = $lab->nginx(host => $web, module => 1);
my ($crt, $key) = $lab->ca->issue($nginx->prefix, 'web.lab.test', 'web');

my %upstream = (
    two      => 'server peer:81 tailnet; server peer:82 tailnet;',
    weight   => 'server peer:81 tailnet weight=3; server peer:82 tailnet;',
    hash     => 'hash $arg_k; server peer:81 tailnet; server peer:82 tailnet;',
    chash    => 'hash $arg_k consistent; server peer:81 tailnet; '
                . 'server peer:82 tailnet;',
    iphash   => 'ip_hash; server peer:81 tailnet; server peer:82 tailnet;',
    least    => 'least_conn; server peer:81 tailnet; server peer:82 tailnet;',
    random   => 'random two; server peer:81 tailnet; server peer:82 tailnet;',
    zone     => 'zone zone 64k; server peer:81 tailnet; '
                . 'server peer.lab.test:82 tailnet; keepalive 4;',
    keep     => 'server peer:81 tailnet; keepalive 4;',
    mixed    => "server peer:81 tailnet; server 127.0.0.1:8001;",
    retry    => 'server peer:89 tailnet max_fails=0; '
                . 'server peer:81 tailnet max_fails=0;',
    once     => 'zone once 64k; server peer:89 tailnet fail_timeout=60s; '
                . 'server peer:81 tailnet;',
    down     => 'server peer:89 tailnet down; server peer:81 tailnet;',
    silent   => 'server peer:83 tailnet;',
    nobody   => 'server nobody:81 tailnet;',
    late     => 'server peer:83 tailnet; server peer:81 tailnet backup;',
    tls      => 'server peer:443 tailnet; keepalive 4;',
    noport   => "server peer tailnet; server [@{[$peer->ip6]}] tailnet;",
);

my $upstreams = join "\n", map { "    upstream $_ { $upstream{$_} }" }
    sort keys %upstream;
my $locations = join "\n", map {
    "        location /$_/ { proxy_pass http://$_/; }" } sort keys %upstream;
my $ca = $lab->ca->cert;

$nginx->configure(
    main => "worker_processes 1;\n"
            . $nginx->tailnet_block($tailnet->{control},
                                    $tailnet->{auth_key}),
    http => <<"HTTP");
$upstreams

    log_format up '\$uri \$upstream_addr \$upstream_status';
    access_log logs/up.log up;

    proxy_http_version    1.1;
    proxy_set_header      Connection "";
    proxy_connect_timeout 3s;
    client_max_body_size  20m;
    add_header            X-Upstream \$upstream_addr always;

    ssl_certificate     $crt;
    ssl_certificate_key $key;

    server {
        listen 80 tailnet=home default_server backlog=64 so_keepalive=30m::10;
        listen 443 ssl http2 tailnet=home default_server deferred reuseport;
        return 200 "default \$server_protocol \$scheme\\n";
    }

    server {
        listen 80 tailnet;
        listen 443 ssl http2 tailnet;
        server_name web.lab.test;
        return 200 "named \$server_protocol \$scheme\\n";
    }

    server {
        listen 81 tailnet=home proxy_protocol;
        return 200 "\$proxy_protocol_addr \$remote_addr\\n";
    }

    server { listen 0.0.0.0:84 tailnet; return 200 "four\\n"; }
    server { listen [::]:86 tailnet; return 200 "six\\n"; }

    server { listen 127.0.0.1:8001; return 200 "8001\\n"; }

    server {
        listen 8000;
$locations
        location /https/ {
            proxy_pass                    https://tls/;
            proxy_ssl_verify              on;
            proxy_ssl_trusted_certificate $ca;
            proxy_ssl_name                peer.lab.test;
            proxy_ssl_server_name         on;
        }
        location /slow/ {
            proxy_pass            http://silent/;
            proxy_connect_timeout 20s;
        }
        location /status { stub_status; }
    }
HTTP
$nginx->start;

my $self = eval { $peer->wait_peer('web', 20) }
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};
my @six = (args => ['--connect-to', "::[$web6]:"]);
my @four = (args => ['-4']);

$peer->wait_get('http://web.lab.test/', seconds => 20);

my $proxy = 'http://' . $web->ip4 . ':8000';

sub ask {
    my ($uri, %opt) = @_;
    return $infra->get("$proxy/$uri", %opt);
}

# How often each body came.

sub tally {
    my ($count, $uri) = @_;
    my %seen;

    $seen{ask($uri)->{body} =~ s/\n\z//r}++ for 1 .. $count;

    return join ' ', map { "$_:$seen{$_}" } sort keys %seen;
}

$infra->wait_get("$proxy/keep/");


subtest 'listen' => sub {
    my @ca = (cacert => $ca);

    is($peer->get('http://web/')->{body}, "default HTTP/1.1 http\n",
       'the default server');
    is($peer->get('http://web.lab.test/')->{body}, "named HTTP/1.1 http\n",
       'a server by its name');
    is($peer->get('https://web/', @ca)->{body}, "default HTTP/2.0 https\n",
       'TLS and HTTP/2');
    is($peer->get('https://web.lab.test/', @ca)->{body},
       "named HTTP/2.0 https\n", 'TLS, a server by its name');
    is($peer->get('https://web/', @ca, args => ['--http1.1'])->{body},
       "default HTTP/1.1 https\n", 'TLS without HTTP/2');
    is($peer->get('https://web/', @ca, @six)->{body},
       "default HTTP/2.0 https\n", 'TLS and HTTP/2 by IPv6');
    like($peer->get('http://web:81/', args => ['--haproxy-protocol'])->{body},
         qr/^\Q$peer4\E \Q$peer4\E$|^fd7a:\S+ fd7a:/, 'PROXY protocol');
    is($peer->get('http://web:84/', @four)->{body}, "four\n",
       'IPv4 alone, by IPv4');
    is($peer->get('http://web:84/', @six)->{status}, 0,
       'and not by IPv6');
    is($peer->get('http://web:86/', @six)->{body}, "six\n",
       'IPv6 alone, by IPv6');
    is($peer->get('http://web:86/', @four)->{status}, 0,
       'and not by IPv4');
};


# The first bytes of a connection: over TLS the answer acknowledges them, so
# the kernel waits for it, which its counter of delayed ACKs shows when no
# answer comes.

sub delayed_acks {
    my ($holder) = $web->processes('tailnet-netns');
    my ($names, $values) = $lab->read_file("/proc/$holder/net/netstat")
        =~ /^TcpExt: (\D.*)\nTcpExt: (.*)/m;
    my %count;

    @count{split ' ', $names} = split ' ', $values;

    return $count{DelayedACKs};
}

sub delayed_by {
    my ($port) = @_;
    my $before = delayed_acks();
    my ($status, $out) = $peer->host->capture('perl', '-MIO::Socket::INET',
        '-e', <<'CLIENT', (grep { !/:/ } @{$self->{TailscaleIPs}})[0], $port);
        my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0],
                                      PeerPort => $ARGV[1], Timeout => 10)
            or die "connect: $!\n";

        syswrite $s, "\x16\x03\x01";

        for (1 .. 1000) {
            ioctl $s, 0x5411, my $unacked = pack 'i', 1 or die "SIOCOUTQ: $!";
            exit 0 if unpack('i', $unacked) == 0;
            select undef, undef, undef, 0.01;
        }

        die "not acknowledged\n";
CLIENT

    diag($out) if $status != 0;

    return $status == 0 ? delayed_acks() - $before : undef;
}

subtest 'acknowledgements' => sub {
    plan skip_all => 'a counter of the kernel'
        if ($ENV{TAILNET_STACK} // '') eq 'lwip';

    cmp_ok(delayed_by(443), '>=', 1, 'TLS: with the answer, or late');

    # another connection may have one that is late

    my $at_once = 0;

    for (1 .. 20) {
        $at_once = (delayed_by(80) // 1) == 0 and last;
    }

    ok($at_once, 'without TLS: at once');
};


subtest 'balancers' => sub {
    is(tally(8, 'two/'), '81:4 82:4', 'round robin');
    is(tally(8, 'weight/'), '81:6 82:2', 'weight');
    is(tally(8, 'zone/'), '81:4 82:4', 'zone and keepalive');
    is(tally(8, 'mixed/'), '8001:4 81:4', 'with a server of the host');
    is(tally(4, 'down/'), '81:4', 'down');
    like(tally(6, 'least/'), qr/^81:3 82:3$/, 'least_conn');
    like(tally(16, 'random/'), qr/^81:\d+ 82:\d+$/, 'random');
    like(tally(4, 'iphash/'), qr/^8[12]:4$/, 'ip_hash');

    for my $hash (qw(hash chash)) {
        my %by = map { $_ => tally(3, "$hash/?k=$_") } 1 .. 8;

        is(scalar(grep { /^8[12]:3$/ } values %by), 8,
           "$hash: a key has its server");
        is(join(' ', sort keys %{{ reverse %by }}), '81:3 82:3',
           "$hash: both serve");
    }
};


subtest 'connections' => sub {
    is(tally(5, 'keep/connection') =~ tr/://, 1, 'keepalive: one connection');

    my $reply = ask('keep/post', body => 'x' x 65536, method => 'POST');

    is($reply->{body}, "65536\n", 'POST');

    # What is written is what is shown.

    like(ask('keep/')->{headers}, qr/^X-Upstream: peer:81\r$/m,
         '$upstream_addr of a kept connection');
    like(ask('two/')->{headers}, qr/^X-Upstream: peer:8[12]\r$/m,
         '$upstream_addr of a new one');
    like(ask('noport/')->{headers},
         qr/^X-Upstream: peer:80, \[fd7a:\S+\]:80\r$/m,
         '$upstream_addr has the default port');

    my @tls = map { ask('https/')->{body} } 1 .. 2;

    like($tls[0], qr/^peer\.lab\.test /, 'TLS to the upstream');
    is($tls[1], $tls[0], 'TLS to the upstream, kept');
};


subtest 'failures' => sub {
    my $begin = time;
    my $reply = ask('silent/');

    is($reply->{status}, 504, 'no answer: 504');
    cmp_ok(time - $begin, '<', 15, 'after proxy_connect_timeout');

    is(ask('nobody/')->{status}, 502, 'no such peer: 502');
    is(ask('down/')->{status}, 200, 'a server that is down is left out');

    $reply = ask('late/');
    is($reply->{body}, "81\n", 'the next one after a timeout');
    like($reply->{headers}, qr/^X-Upstream: peer:83, peer:81\r$/m,
         '$upstream_addr of both');

    is(tally(4, 'retry/'), '81:4', 'the next one after a refusal');

    my $refused = sub { scalar $nginx->errors(qr{upstream:.*peer:89/x}) };

    is(tally(6, 'once/x'), '81:6', 'max_fails: all are served');
    is($refused->(), 1, 'max_fails: one attempt');

    for my $case (['silent', qr/upstream timed out/],
                  ['nobody', qr/connect\(\) to nobody:81 of tailnet "home"/],
                  ['retry', qr/connect\(\) (?:to .*)?failed(?::.*)? \(111/])
    {
        my ($name, $line) = @$case;
        my $before = $nginx->errors(qr{\[error\].*"GET /$name/count});

        ask("$name/count");

        my @new = $nginx->errors(qr{\[error\].*"GET /$name/count});

        is(@new - $before, $name eq 'retry' ? scalar(@new) - $before : 1,
           "$name: one line") or diag(@new);
        like($new[-1] // '', $line, "$name: it says what") if @new;
    }
};


subtest 'clients that go away' => sub {
    my $count = sub {
        (ask('status')->{body} =~ /Active connections: (\d+)/)[0]
    };
    my $before = $count->();
    my @pids;

    for (1 .. 20) {
        my $pid = fork // die "fork: $!";

        if (!$pid) {
            $infra->get("$proxy/slow/", timeout => 0.3);
            exit;
        }
        push @pids, $pid;
    }
    waitpid $_, 0 for @pids;

    my $gone = eval {
        $lab->wait_for(5, 'the connections to go',
                       sub { $count->() <= $before })
    };

    ok($gone, 'no connection is left');
    is(ask('keep/')->{body}, "81\n", 'served as before');
};


subtest 'without the core' => sub {
    my ($core) = $nginx->host->processes('tailnet-core');

    ok($core, 'a core') or return;
    kill 'KILL', $core;

    # The first waits for the new core's netmap or fails, quickly.

    my $begin = time;
    my $reply = ask('two/');

    ok($reply->{status} == 200 || $reply->{status} =~ /^50[24]$/,
       "killed core: answered with $reply->{status}");
    cmp_ok(time - $begin, '<', 15, 'killed core: in time');
    is($infra->wait_get("$proxy/two/", seconds => 15)->{status}, 200,
       'killed core: served again') or diag($nginx->error_log);
};


subtest 'the end' => sub {
    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", grep { !/ended on signal 9/ }
            $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
};

done_testing();
