#!/usr/bin/perl

# What limits, counts and names connections in nginx does so with those of the
# tailnet: limit_conn, limit_req, geo, allow and deny, realip, access_log,
# stub_status, worker_connections and worker_rlimit_nofile, in http and stream;
# dials by the thousand to a peer that does not answer; clients that connect
# and say nothing. TAILNET_QUICK=1: hundreds of them.

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
my ($peer4, $peer6) = ($peer->ip4, $peer->ip6);
my $nginx = $lab->nginx(host => $web, module => 1);

# Port 83 of the peer does not answer.
$peer->host->nft('table inet lab_83 { chain in { '
                 . 'type filter hook input priority 0; '
                 . 'tcp dport 83 drop; }; }');

my $connections = 300;

$nginx->configure(
    main => <<"MAIN", http => <<"HTTP", stream => <<"STREAM");
worker_processes 1;
worker_rlimit_nofile 1000;
events { worker_connections $connections; }
@{[$nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key})]}
MAIN
    geo \$place { default elsewhere; $peer4 four; $peer6 six; }
    limit_conn_zone \$binary_remote_addr zone=conn:64k;
    limit_req_zone  \$binary_remote_addr zone=req:64k rate=1r/m;
    log_format who '\$remote_addr \$server_addr \$server_port '
                   '\$connection_requests \$status \$request_uri';
    upstream dead { server peer:83 tailnet max_fails=0; }
    upstream gone { server nobody:83 tailnet max_fails=0; }

    server {
        listen 80 tailnet;
        access_log logs/who.log who;
        location /place { return 200 "\$place\\n"; }
        location /conn { limit_conn conn 1; limit_rate 20k; alias html/; }
        location /req { limit_req zone=req; root html; try_files /page =404; }
        location /allow { allow $peer4; deny all; try_files /page =404; }
        location /deny { deny $peer4; allow all; try_files /page =404; }
        location /status { stub_status; }
    }
    server {
        listen 81 tailnet proxy_protocol;
        set_real_ip_from $peer4;
        set_real_ip_from $peer6;
        real_ip_header   proxy_protocol;
        return 200 "\$remote_addr \$realip_remote_addr\\n";
    }
    server {
        listen 85 tailnet;
        set_real_ip_from $peer4;
        set_real_ip_from $peer6;
        real_ip_header   X-Forwarded-For;
        return 200 "\$remote_addr \$realip_remote_addr\\n";
    }
    server {
        listen 82 tailnet;
        client_header_timeout 1s;
        return 200 "x\\n";
    }
    server {
        listen 8000;
        keepalive_timeout 0;
        location /dead { proxy_pass http://dead; proxy_connect_timeout 2s; }
        location /gone { proxy_pass http://gone; }
        location /status { stub_status; }
        location / { return 200 "host\\n"; }
    }
HTTP
    limit_conn_zone \$binary_remote_addr zone=sconn:64k;
    server { listen 5000 tailnet; allow $peer4; deny all; return "in\\n"; }
    server {
        listen 5001 tailnet;
        limit_conn sconn 1;
        proxy_pass 127.0.0.1:8000;
    }
STREAM
$nginx->write('html/page', "page\n");
$nginx->write('html/big', 'x' x 300_000);
$nginx->start;

my $self = eval { $peer->wait_peer('web', 20) }
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);
my ($web4) = grep { /\./ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};
my $proxy = 'http://' . $web->ip4 . ':8000';

$peer->wait_get("http://$web4/place", seconds => 20);

# Connections of a process on the peer, each with what it sends; ends with it.

my $holder = $lab->write_file($lab->path('hold.pl'), <<'PERL');
use strict;
use IO::Socket::IP;
my ($ip, $port, $count, $text) = @ARGV;
my @all = grep { defined } map {
    IO::Socket::IP->new(PeerHost => $ip, PeerPort => $port, Timeout => 5)
} 1 .. $count;
if ($text) { print {$_} $text =~ s/\\r\\n/\r\n/gr for @all; $_->flush for @all }
$| = 1;
print scalar(@all), "\n";
sleep 1000;
PERL

my $held = 0;

sub hold {
    my ($host, @args) = @_;
    my $process = $host->start('hold-' . ++$held, [$^X, $holder, @args]);

    $process->wait_log(30, qr/^\d+$/m);
    return $process;
}

sub stat_of {
    my ($what) = @_;
    my $body = $infra->get("$proxy/status")->{body};

    return $body =~ /$what:? (\d+)/i ? $1 : -1;
}

sub settles {
    my ($name, $what, $limit) = @_;

    ok(eval { $lab->wait_for(15, $name, sub { $what->() <= $limit }) }, $name)
        or diag($what->());
}


subtest 'addresses' => sub {
    my @six = (args => ['--connect-to', "::[$web6]:"]);

    is($peer->get("http://$web4/place")->{body}, "four\n", 'geo');
    is($peer->get("http://$web4/place", @six)->{body}, "six\n", 'geo, IPv6');
    is($peer->get("http://$web4/allow")->{status}, 200, 'allow');
    is($peer->get("http://$web4/allow", @six)->{status}, 403,
       'allow, another');
    is($peer->get("http://$web4/deny")->{status}, 403, 'deny');
    is($peer->get("http://$web4/deny", @six)->{status}, 200, 'deny, another');
    is($peer->get("http://$web4:85/",
                  headers => ['X-Forwarded-For: 192.0.2.7'])->{body},
       "192.0.2.7 $peer4\n", 'realip');
    is($peer->get("http://$web4:85/", @six,
                  headers => ['X-Forwarded-For: 192.0.2.8'])->{body},
       "192.0.2.8 $peer6\n", 'realip, IPv6');
    is($peer->get("http://$web4:81/", args => ['--haproxy-protocol'])->{body},
       "$peer4 $peer4\n", 'realip by PROXY protocol');

    my ($line) = grep { m{ /place$} } split /\n/,
        $lab->read_file($nginx->prefix . '/logs/who.log');
    is($line, "$peer4 $web4 80 1 200 /place", 'access_log');

    is($peer->get("http://$web4:5000/", args => ['--http0.9'])->{body},
       "in\n", 'stream: allow');
    is($peer->get("http://$web4:5000/", @six, args => ['--http0.9',
        '--connect-to', "::[$web6]:"])->{size} || 0, 0,
       'stream: allow, another');
};


subtest 'limits' => sub {
    my $first = hold($peer->host, $web4, 80, 1,
                     'GET /conn/big HTTP/1.1\r\nHost: a\r\n\r\n');
    ok(eval { $lab->wait_for(10, 'the limit', sub {
        $peer->get("http://$web4/conn/big", timeout => 2)->{status} == 503
    }) }, 'limit_conn');
    $first->stop;
    ok(eval { $lab->wait_for(10, 'its end', sub {
        $peer->get("http://$web4/conn/page")->{status} == 200
    }) }, 'limit_conn: free again');

    is($peer->get("http://$web4/req")->{status}, 200, 'limit_req');
    is($peer->get("http://$web4/req")->{status}, 503, 'limit_req: one more');

    $first = hold($peer->host, $web4, 5001, 1);
    ok(eval { $lab->wait_for(10, 'the limit', sub {
        $peer->get("http://$web4:5001/")->{status} == 0
    }) }, 'stream: limit_conn');
    $first->stop;
    ok(eval { $lab->wait_for(10, 'its end', sub {
        $peer->get("http://$web4:5001/")->{status} == 200
    }) }, 'stream: limit_conn: free again');
};


subtest 'stub_status' => sub {
    my $before = -1;

    # those before may still be on their way out

    $lab->wait_for(10, 'rest', sub {
        my $was = $before;
        sleep 0.3;
        ($before = stat_of('Active connections')) == $was;
    });

    my $held = hold($peer->host, $web4, 80, 20);

    ok(eval { $lab->wait_for(10, 'twenty more', sub {
        stat_of('Active connections') - $before == 20
    }) }, 'active') or diag($before, ' ', stat_of('Active connections'));
    cmp_ok(stat_of('Waiting'), '>=', 0, 'waiting');
    $held->stop;
    settles('active: none left', sub { stat_of('Active connections') },
            $before);
};


subtest 'clients that say nothing' => sub {
    my $before = stat_of('Active connections');
    my $held = hold($peer->host, $web4, 82, 50);

    settles('closed after client_header_timeout',
            sub { stat_of('Active connections') }, $before);
    $held->stop;
};


subtest 'worker_connections' => sub {
    my $held = hold($peer->host, $web4, 80, 2 * $connections);

    ok($nginx->wait_error_log(10, qr/$connections worker_connections are not/),
       'more than there are: said');
    $held->stop;

    ok(eval { $lab->wait_for(15, 'the end', sub {
        $peer->get("http://$web4/place", timeout => 2)->{status} == 200
    }) }, 'served again');
};


# A dial has a socket, and at first a connection to the core, too.

subtest 'dials by the thousand' => sub {
    my ($core) = $nginx->host->processes('tailnet-core');
    my ($worker) = $nginx->workers;
    my $fds = sub { scalar(() = glob "/proc/$_[0]/fd/*") };
    my ($core_before, $worker_before) = ($fds->($core), $fds->($worker));
    my $most = 0;
    my $end = time + ($ENV{TAILNET_QUICK} ? 3 : 8);
    my ($rounds, $asked) = (0, 0);

    while (time < $end || $asked < ($ENV{TAILNET_QUICK} ? 200 : 1000)) {
        my $held = hold($infra, $web->ip4, 8000, 200,
                        'GET /dead HTTP/1.1\r\nHost: a\r\n\r\n');
        $asked += 200;
        my $now = $fds->($core);
        $most = $now if $now > $most;
        sleep 0.2;
        $held->stop;
        $rounds++;
    }

    note("$asked requests to a peer that does not answer: core had at most "
         . "$most descriptors, $core_before before");
    cmp_ok($asked, '>=', $ENV{TAILNET_QUICK} ? 200 : 1000,
           'a thousand and more');
    cmp_ok($most - $core_before, '<', 400, 'the core is bounded');

    is($infra->wait_get("$proxy/", seconds => 15)->{status}, 200,
       'nginx serves');
    settles('descriptors of the core', sub { $fds->($core) },
            $core_before + 40);

    # it keeps up to 48 sockets for dials to come
    settles('descriptors of the worker', sub { $fds->($worker) },
            $worker_before + 68);

    my $before = () = $nginx->errors(qr/nobody:83/);
    for (1 .. 3) {
        my $held = hold($infra, $web->ip4, 8000, 100,
                        'GET /gone HTTP/1.1\r\nHost: a\r\n\r\n');
        sleep 0.2;
        $held->stop;
    }
    is($infra->get("$proxy/gone")->{status}, 502, 'no such peer: 502');
    my @new = $nginx->errors(qr/\[error\].*nobody:83/);
    cmp_ok(@new - $before, '<=', 301, 'a line for each, not more');
    is($infra->get("$proxy/")->{status}, 200, 'nginx serves');
};


subtest 'descriptors' => sub {
    my ($worker) = $nginx->workers;

    like($lab->read_file("/proc/$worker/limits"),
         qr/^Max open files\s+1000\s+1000/m, 'worker_rlimit_nofile');
};


subtest 'the end' => sub {
    is($nginx->quit, 0, 'nginx quits');
    is(join("\n", grep { !/worker_connections are not/ }
            $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
       'nothing alarming in the log');
};

done_testing();
