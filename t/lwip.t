#!/usr/bin/perl

# nginx is a node by the lwIP stack: a real tailscaled fetches from its
# listener over IPv4 and IPv6, and nginx from it; a port that a reload takes
# away is refused; two nodes of one core, each with this stack.  What http and
# stream do with it their own tests show, run with TAILNET_STACK=lwip.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

plan skip_all => 'built without lwIP'
    if -e "$FindBin::Bin/../build/lwip.missing";

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};

my $nginx = $lab->nginx(host => $web, module => 1);

sub block {
    return $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
                                 extra => 'stack lwip;', @_);
}

my %config = (
    main => "worker_processes 2;\n" . block()
            . block(name => 'second', hostname => 'second'),
    http => <<"HTTP");
    add_header X-Upstream \$upstream_addr always;

    upstream far {
        server peer:80 tailnet=home;
    }

    upstream nobody {
        server 100.99.99.99:80 tailnet=home;
    }

    server {
        listen 80 tailnet=second;
        return 200 "second \$remote_addr\\n";
    }

    server {
        listen 81 tailnet=home;
        return 200 "81\\n";
    }

    server {
        listen 80 tailnet=home;

        location = /addr {
            return 200 "\$remote_addr \$server_addr \$server_port\\n";
        }

        location = /dial {
            proxy_pass http://far/;
        }

        location = /gone {
            proxy_pass http://nobody;
        }
    }
HTTP

$nginx->configure(%config);

my $big = $nginx->prefix . '/html/big';

$nginx->write('html/index.html', "Hello from nginx.\n");
$lab->run('dd', 'if=/dev/urandom', "of=$big", 'bs=1M', 'count=20',
          'status=none');

$nginx->start;

my $self = eval { $peer->wait_peer('web', 20) };

ok($self, 'the peer sees the node')
    or BAIL_OUT("the node did not join:\n" . $nginx->error_log);

my ($web4) = grep { !/:/ } @{$self->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$self->{TailscaleIPs}};

is($peer->wait_get('http://web.lab.test/', seconds => 20)->{status}, 200,
   'the first page came') or diag($nginx->error_log);

is($peer->get("http://$web4/addr")->{body},
   $peer->ip4 . " $web4 80\n", 'the addresses of IPv4');
is($peer->get("http://[$web6]/addr")->{body},
   $peer->ip6 . " $web6 80\n", 'the addresses of IPv6')
    or diag($nginx->error_log);

my $body = $peer->get("http://$web4/big")->{body} // '';
open my $fh, '<:raw', $big or die "$big: $!";
my $want = do { local $/; <$fh> };
ok($body eq $want, '20 MB byte-exact') or diag(length $body);

# nginx closes first, so that its side waits out the connection; a client with
# few ports comes to the same ones again at once.

my $few = $lab->write_file($lab->path('again.pl'), <<'PERL');
use strict;
use IO::Socket::INET;
my ($ip, $good) = (shift, 0);
for (1 .. 1500) {
    my $s = IO::Socket::INET->new(PeerAddr => $ip, PeerPort => 80,
                                  Timeout => 5) or last;
    print {$s} "GET /addr HTTP/1.0\r\n\r\n";
    local $SIG{ALRM} = sub { close $s };
    alarm 5;
    my $got = do { local $/; <$s> };
    $good++ if ($got // '') =~ /^HTTP\S+ 200/;
}
print $good;
PERL

my $ports = 'net.ipv4.ip_local_port_range';
my ($before) = $peer->host->run('sysctl', '-n', $ports) =~ /^(.*)$/m;
$peer->host->run('sysctl', '-qw', "$ports=40000 40299");
is(($peer->host->capture($^X, $few, $web4))[1], 1500,
   '1,500 connections from 300 ports') or diag($nginx->error_log);
$peer->host->run('sysctl', '-qw', "$ports=$before");

my $second = eval { $peer->wait_peer('second', 20) };
my ($second4) = grep { !/:/ } @{$second->{TailscaleIPs} // []};

is($peer->wait_get("http://$second4/", seconds => 20)->{body},
   'second ' . $peer->ip4 . "\n", 'a second node of the same core');

is($peer->get("http://$web4:81/")->{body}, "81\n", 'another port');
$config{http} =~ s/listen 81 tailnet=home/listen 127.0.0.1:8181/;
$nginx->configure(%config);

$nginx->reload;
is($peer->wait_get("http://$web4/", seconds => 10)->{status}, 200,
   'served after a reload');

my $refused = eval {
    $lab->wait_for(10, 'the port to go', sub {
        ($peer->host->capture('curl', '-s', '-m', 5, "http://$web4:81/"))[0]
            == 7
    });
};

ok($refused, 'a port that the reload took away is refused');

is($peer->get("http://$web4/dial")->{body},
   "Hello from the web server behind tailscaled.\n", 'a dial');
like($peer->get("http://$web4/dial")->{headers}, qr/^X-Upstream: peer:80\r$/m,
     '$upstream_addr');
is($peer->get("http://$web4/gone")->{status}, 502, 'an address of nobody');
like($nginx->error_log, qr/100\.99\.99\.99:80 .*\(113: No route to host/,
     'with a line');

# The supervisor's death costs nothing, the core's what was under way.

my ($super) = $nginx->error_log =~ /started supervisor (\d+)/;
my ($core) = $nginx->error_log =~ /core process (\d+) started/;

kill 'KILL', $super;
$lab->wait_for(20, 'another supervisor', sub {
    $nginx->error_log =~ /core process $core goes on/
});
is($peer->get("http://$web4/")->{status}, 200,
   'served after the supervisor was killed') or diag($nginx->error_log);

my $killed = time;

kill 'KILL', $core;
$lab->wait_for(20, 'another core', sub {
    my @cores = $nginx->error_log =~ /core process (\d+) started/g;
    @cores > 1;
});
is($peer->wait_get("http://$web4/", seconds => 20)->{status}, 200,
   'served after the core was killed');
is($peer->wait_get("http://[$web6]/", seconds => 20)->{status}, 200,
   'over IPv6 too');
is($peer->wait_get("http://$second4/", seconds => 20)->{status}, 200,
   'by the second node too');
note(sprintf '%.1f s after the kill', time - $killed);

done_testing();
