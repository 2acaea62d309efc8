#!/usr/bin/perl

# The recipes of docs/funnel.md as they stand there: only names, addresses and
# directories are the lab's.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $pebble = $lab->pebble(host => $lab->host('ca'), nonces => 0, sleep => 0);
my $tailnet = $lab->small_tailnet(testcontrol => 1, control => {
    args => ['-set-txt=' . $pebble->set_txt],
});
my ($peer, $web, $infra, $control) = @{$tailnet}{qw(peer web infra control)};
my $nginx = $lab->nginx(host => $web, module => 1);

my $doc = $lab->read_file($lab->root . '/docs/funnel.md');
my ($common) = $doc =~ /^```nginx\n(.*?)^```/ms;
my %recipe = $doc =~ /^## ([^\n]+)\n(?:(?!^## |^```).)*^```nginx\n(.*?)^```/gms;

is(scalar keys %recipe, 5, 'five recipes') or diag join ', ', keys %recipe;

my $prefix = $nginx->prefix;
my $tls = $peer->host->ip4 . ':7443';
my $own = $nginx->tailnet_block($control, $tailnet->{auth_key});
my ($lines) = $own =~ /\{\n(.*)^\}/ms;
$lines =~ s/^\s*hostname\s.*\n//m;
$lines .= '    acme_directory ' . $pebble->url . ";\n";

my %lab = ('/srv/www'           => "$prefix/html",
           'web.example.ts.net' => 'web.lab.test',
           'grafana:3000'       => 'peer:8000',
           '192.0.2.10:443'     => $tls);

sub configure {
    my ($text) = @_;
    my %part;

    for my $from (keys %lab) {
        $text =~ s/\Q$from\E/$lab{$from}/g;
    }

    # The lab's control and key are in place of Tailscale's.

    $text = $common . $text unless $text =~ /^tailnet /m;
    $text =~ s/^\s*auth_key\s.*\n/$lines/m;

    for my $name (qw(http stream)) {
        $part{$name} = $1 if $text =~ s/^$name \{\n(.*?)^\}\n//ms;
    }

    $nginx->configure(main => $text, %part);
}

$nginx->write('html/index.html', 'a site');

my ($cert, $key) = $lab->ca->issue($tailnet->{peer_web}->prefix,
                                   'web.lab.test');
$tailnet->{peer_web}->configure(http => <<"HTTP");
    server {
        listen 8000;
        listen [::]:8000;
        return 200 "\$host \$http_x_forwarded_for \$http_tailscale_funnel_request [\$http_tailscale_user_login]";
    }
    server {
        listen 7443 ssl proxy_protocol;
        ssl_certificate     $cert;
        ssl_certificate_key $key;
        return 200 "\$ssl_server_name \$proxy_protocol_addr";
    }
HTTP
$tailnet->{peer_web}->reload;

sub recipe {
    my ($name) = @_;

    ok($recipe{$name}, $name) or return;
    configure($recipe{$name});
    return $nginx->start unless $nginx->alive;

    my @old = $nginx->workers;
    $nginx->reload;

    # until a worker has heard of it it goes on taking connections

    $lab->wait_for(20, 'the end of the workers before', sub {
        !grep { $lab->read_file("/proc/$_/cmdline") =~ /worker process\0/ }
            @old;
    });
}

recipe('A static site');
my $node = $peer->wait_peer('web', 20);
my ($ip) = grep { !/:/ } @{$node->{TailscaleIPs}};

my ($api) = map { s{^http://}{}r } grep { !/\[/ } @{
    $lab->wait_for(20, 'the PeerAPI to be announced', sub {
        my $u = $peer->peer('web')->{PeerAPIURL};
        ref $u && @$u == 2 ? $u : undef;
    })
};
my $relay = $peer->host->ip4;

for (['web.lab.test', 4443], ['www.example.com', $pebble->tls_port]) {
    my ($name, $port) = @$_;
    my $p = $peer->host->start("ingress-$port", [$lab->bin('ingress'),
        "-listen=:$port", '-peerapi', $api, "-target=$name:443"]);
    $p->wait_until(5, 'the port', sub { $peer->host->accepts($port) });
}

$pebble->set_address('www.example.com', $relay);

my @web = ('https://web.lab.test:4443', cacert => $pebble->root,
           resolve => "web.lab.test:4443:$relay");

sub get {
    my ($path, %opt) = @_;
    my ($url, @opt) = @web;
    return $infra->wait_get("$url$path", @opt, seconds => 40, %opt);
}

# from the Internet, once the certificate is there

is(get('/')->{body}, 'a site', 'is served')
    or diag $nginx->errors(qr/certificate|Funnel|PeerAPI/);

my $client = $infra->ip4;

recipe('A service of the tailnet');
is(get('/', headers => ['Tailscale-User-Login: root'])->{body},
   "web.lab.test $client ?1 []", 'is proxied, and nobody has a name');
is(get('/admin/', status => 403)->{status}, 403,
   'not everything for the Internet');
is($peer->wait_get('https://web.lab.test/admin/', cacert => $pebble->root,
                   resolve => "web.lab.test:443:$ip")->{status}, 200,
   'for the tailnet it is');

recipe('TLS passed through');
my $r = get('/', cacert => $lab->ca->cert);
is($r->{body}, "web.lab.test $client", 'to who has the certificate')
    or diag $r->{error};

recipe('Limits');

sub limited {
    my ($host, @resolve) = @_;
    my (undef, $text) = $host->capture('curl', '-s', '-m', 60, '-o',
        '/dev/null', '-w', '%{http_code} ', '--cacert', $pebble->root,
        '--http1.1', '-Z', '--parallel-max', 10, @resolve);
    return scalar(() = $text =~ /429/g);
}

cmp_ok(limited($infra, '--resolve', "web.lab.test:4443:$relay",
               'https://web.lab.test:4443/?[1-300]'), '>', 0,
       'the Internet has a limit');
is(limited($peer->host, '--resolve', "web.lab.test:443:$ip",
           'https://web.lab.test/?[1-300]'), 0, 'the tailnet none');

recipe('A domain of one\'s own');
my $port = $pebble->tls_port;
$r = $infra->wait_get("https://www.example.com:$port/", seconds => 60,
    cacert => $pebble->root, resolve => "www.example.com:$port:$relay");
is($r->{body}, 'a site', 'is served') or diag $r->{error},
    join "\n", $nginx->errors(qr/certificate|challenge|PeerAPI/);
is(get('/')->{body}, 'a site', 'besides the node\'s name');

is($nginx->quit, 0, 'nginx quits');

done_testing();
