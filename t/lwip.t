#!/usr/bin/perl

# nginx is a node by the lwIP stack: a real tailscaled fetches from its
# listener over IPv4 and IPv6.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

plan skip_all => 'built without lwIP'
    if -e "$FindBin::Bin/../build/lwip.missing";

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web, $infra) = @{$tailnet}{qw(peer web infra)};

my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => "worker_processes 2;\n"
            . $nginx->tailnet_block($tailnet->{control},
                                    $tailnet->{auth_key},
                                    extra => 'stack lwip;'),
    http => <<"HTTP");
    upstream far {
        server 100.64.0.1:80 tailnet=home;
    }

    server {
        listen 80 tailnet=home;

        location = /addr {
            return 200 "\$remote_addr \$server_addr \$server_port\\n";
        }

        location = /dial {
            proxy_pass http://far;
        }
    }
HTTP

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

$nginx->reload;
is($peer->wait_get("http://$web4/", seconds => 10)->{status}, 200,
   'served after a reload');

my $asked = time;

is($peer->get("http://$web4/dial")->{status}, 502, 'a dial fails');
ok(time - $asked < 10, 'at once');
like($nginx->error_log, qr/stack lwip does not dial/, 'with a line');

my ($super) = $nginx->error_log =~ /started supervisor (\d+)/;

kill 'KILL', $super;

$lab->wait_for(20, 'another core', sub {
    my @cores = $nginx->error_log =~ /core process (\d+) started/g;
    @cores > 1;
});
is($peer->wait_get("http://$web4/", seconds => 20)->{status}, 200,
   'served after the supervisor was killed');
is($peer->wait_get("http://[$web6]/", seconds => 20)->{status}, 200,
   'over IPv6 too');

done_testing();
