#!/usr/bin/perl

# Names that only nameservers of the tailnet know (split DNS): a real dnsmasq
# behind a subnet router, one on a peer, and one that the host alone reaches.
# TAILNET_STACK=lwip in the environment: by that stack.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

plan skip_all => 'no dnsmasq' unless Tailnet::Lab::find_program('dnsmasq');

my $NET = '192.168.77';

my $lab = Tailnet::Lab->new;
my $outside = $lab->host('outside');
my $tailnet = $lab->small_tailnet(tun => 0, control => { split => {
    'corp.test'      => ["$NET.9", "$NET.2"],       # nobody is the first
    'peer.corp.test' => ['100.64.0.1'],
    'host.test'      => [$outside->ip4],
    'doh.test'       => ['https://dns.example.com/dns-query'],
} });
my ($peer, $web, $control) = @$tailnet{qw(peer web control)};

is($peer->ip4, '100.64.0.1', 'the peer has the address of a nameserver');

# What is behind the peer: a host that has an address of the network.

my $inside = $lab->host('inside');

$peer->host->ip('addr', 'add', "$NET.1/24", 'dev', 'eth0');
$inside->ip('addr', 'add', "$NET.2/24", 'dev', 'eth0');
$inside->ip('route', 'add', 'local', "$NET.192/26", 'dev', 'lo');

my $site = $lab->nginx(host => $inside, http => <<'HTTP');
    server {
        listen 80;
        location / { return 200 "$remote_addr\n"; }
    }
HTTP
$site->start;

$peer->cli('set', "--advertise-routes=$NET.0/24");
$control->approve_routes('peer', @{$control->wait_routes('peer', 1, 20)});

# Forty addresses are more than a message of UDP holds.

sub nameserver {
    my ($host, $name, @records) = @_;
    my $hosts = $lab->write_file($lab->path("$name.hosts"),
                                 join '', map { "$_\n" } @records);
    my $conf = $lab->write_file($lab->path("$name.conf"), join "\n",
        qw(no-resolv no-hosts log-queries log-facility=- local-ttl=1
           local=/test/ cache-size=0 keep-in-foreground user=root),
        "addn-hosts=$hosts", 'pid-file=' . $lab->path("$name.pid"), '');

    $host->start($name, ['dnsmasq', "--conf-file=$conf"]);
}

nameserver($inside, 'dns-inside', "$NET.2 app.corp.test",
           '198.51.100.7 gone.corp.test', 'fd00::7 six.corp.test',
           "$NET.2 six.corp.test",
           map { "$NET.2$_ big.corp.test" } '', 10 .. 50);
nameserver($peer->host, 'dns-peer', "$NET.2 db.peer.corp.test");
nameserver($outside, 'dns-outside', "$NET.2 app.host.test");

my @names = qw(app.corp.test APP.Corp.Test. six.corp.test big.corp.test
               db.peer.corp.test app.host.test gone.corp.test none.corp.test
               any.doh.test elsewhere.test);
my $nginx = $lab->nginx(host => $web, module => 1);
my $n = 0;

$nginx->configure(
    main => $nginx->tailnet_block($control, $tailnet->{auth_key},
                                  extra => 'accept_routes on;'),
    http => join('', map { "    upstream u" . $n++ . " { server $_:80 "
                           . "tailnet=home; }\n" } @names)
        . "    proxy_connect_timeout 8s;\n    server {\n        listen 8080;\n"
        . join('', map { "        location /$_ { proxy_pass http://u$_; }\n" }
               0 .. $#names)
        . "    }\n");
$nginx->start;

sub ask {
    my ($i) = @_;
    my $r = $web->get("http://127.0.0.1:8080/$i", timeout => 15);

    return $r->{status} == 200 ? $r->{body} : $r->{status};
}

$lab->wait_for(40, 'the first name', sub { ask(0) =~ /\./ });

like(ask($_), qr/^\Q$NET\E\.1$/, "$names[$_] is found") for 0 .. 5;

my %why = (
    6 => qr/"gone\.corp\.test" is 198\.51\.100\.7, which no peer routes/,
    7 => qr/the tailnet's nameserver has no address of "none\.corp\.test"/,
    8 => qr/no nameserver of "doh\.test" is an IP address/,
    9 => qr/no peer is called or routes "elsewhere\.test"/,
);

for my $i (sort keys %why) {
    is(ask($i), 502, "$names[$i] is not");
    like($nginx->error_log, $why{$i}, 'and the log says why');
}

done_testing();
