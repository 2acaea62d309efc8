#!/usr/bin/perl

# static_endpoints: nginx and a real tailscaled, each behind a router that
# gives every destination another port. Neither can find a way in, and they
# talk over DERP; where nginx's router forwards a port that nginx announces,
# they talk directly at once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(nat => { web => 'hard', peer => 'hard' });
my ($web, $peer) = @$tailnet{qw(web peer)};
my $router = $tailnet->{router}{web};
my $outside = $router->ip4 . ':40123';

$router->run('nft', 'add', 'rule', 'inet', 'lab_nat', 'before',
             'iifname', 'eth0', 'udp', 'dport', '40123',
             'dnat', 'ip', 'to', $web->ip4 . ':41641');

my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
        extra => "port 41641; static_endpoints $outside;"),
    http => 'server { listen 80 tailnet=home; }');
$nginx->write('html/index.html', "page\n");
$nginx->start;

$peer->wait_peer('web', 20);

my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};

is($peer->wait_get("http://$ip/", seconds => 20)->{body}, "page\n",
   'HTTP works');

my $direct = eval {
    $lab->wait_for(15, 'a direct path', sub {
        $peer->get("http://$ip/", timeout => 3);
        $peer->peer('web')->{CurAddr};
    });
};

is($direct, $outside, 'direct, by the port that the router forwards')
    or diag($nginx->error_log);
is($peer->get("http://$ip/")->{body}, "page\n", 'HTTP goes on');

done_testing();
