#!/usr/bin/perl

# Through a real tinyproxy: nginx on a host from which nothing but the proxy
# is reached joins a tailnet and talks over DERP, TLS inside of the tunnels;
# a wrong password is one line in the log and shows no secret; the proxy comes
# from the environment, or from the directive, which goes before it. Behind
# the proxy a DERP server that lets WebSocket pass alone is reached too.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

plan skip_all => 'no tinyproxy' unless Tailnet::Lab::find_program('tinyproxy');

my $lab = Tailnet::Lab->new;
my $infra = $lab->host('infra');
my $proxy = $lab->host('proxy');
my $peer_host = $lab->host('peer');
my $web = $lab->host('web');

# A front before derper, as an operator has it, that everybody reaches.

my $derper = $lab->derper(host => $infra, port => 4443);
my $front = $lab->nginx(host => $infra, name => 'front');

front('');
$front->start;
$derper->{port} = 443;

my $control = $lab->headscale(host => $infra, derp => [$derper], tls => 1);
my $auth_key = $control->auth_key;
my $peer = $lab->tailscaled(host => $peer_host);

$peer->up(control => $control, auth_key => $auth_key);

# The proxy alone knows the names, and asks for a password.

$lab->write_file('/etc/netns/' . $proxy->ns . '/hosts',
                 "127.0.0.1 localhost\n" . $infra->ip4 . ' '
                 . $derper->{name} . "\n");

my $log = $lab->path('tinyproxy.log');

$proxy->start('tinyproxy', ['tinyproxy', '-d', '-c', $lab->write_file(
    $lab->path('tinyproxy.conf'), <<"CONF")]);
Port 8888
Listen @{[$proxy->ip4]}
Timeout 600
LogFile "$log"
LogLevel Connect
MaxClients 50
BasicAuth tail s3cret-word
CONF
$lab->wait_for(10, 'the proxy', sub {
    $proxy->accepts(8888, $proxy->ip4);
});

$web->nft(<<"RULES");
table inet only_proxy {
    chain out {
        type filter hook output priority 0;
        oifname "eth0" ip daddr @{[$proxy->ip4]} tcp dport 8888 accept
        oifname "eth0" drop
    }
}
RULES

my $at = $proxy->ip4 . ':8888';
my $nginx = $lab->nginx(host => $web, module => 1,
    env => { HTTPS_PROXY => "http://tail:wr0ngword\@$at" });

configure('');
$nginx->write('html/index.html', "page\n");
$nginx->start;

# 1. a wrong password, of the environment

like($nginx->wait_error_log(15, qr/refused: 40[17]/) && $nginx->error_log,
     qr/\Q@{[$infra->ip4]}\E" port 8443: proxy \Q$at\E refused: 40[17] .*: its user or password is wrong/,
     'control: a wrong password is said so');
unlike($nginx->error_log, qr/wr0ngword|dGFpbDp/, 'and not shown');

# 2. the right one, of the directive

configure("proxy http://tail:s3cret%2Dword\@$at;");
$nginx->reload;

talks('by the directive');

my @connects = grep { /: CONNECT / } split /\n/, $lab->read_file($log);

ok((grep { /CONNECT \Q@{[$infra->ip4]}\E:8443/ } @connects),
   'control by a tunnel');
ok((grep { /CONNECT \Q$derper->{name}\E:443/ } @connects),
   'DERP by a tunnel, its name left to the proxy');
ok(!(grep { !/:(443|8443) / } @connects), 'and nothing else')
    or diag(@connects);

# 3. DERP's own upgrade does not pass any more

front('if ($by = "DERP ' . $proxy->ip4 . '") { return 403; }');
$front->stop;
$front->start;

talks('by WebSocket in a tunnel');
like($front->access_log, qr/403 DERP \Q@{[$proxy->ip4]}\E/,
     "DERP's own upgrade did not pass");

# 4. of the environment alone, after a new start

ended();
$nginx->{env}{HTTPS_PROXY} = "tail:s3cret%2Dword\@$at";
configure('');
$nginx->start;
talks('by the environment');

unlike($nginx->error_log, qr/s3cret|dGFpbDp/, 'no secret in the log');

# 5. "off": what the environment says does not count

ended();
configure('proxy off;');
unlink $nginx->prefix . '/logs/error.log';
$nginx->start;
$nginx->wait_error_log(20, qr/gave no key|no connection/);
unlike($nginx->error_log, qr/proxy/, 'off: no proxy');

done_testing();


sub configure {
    my ($extra) = @_;

    $nginx->configure(
        main => $nginx->tailnet_block($control, $auth_key, extra => $extra),
        http => 'server { listen 80 tailnet=home; }');
}


# Until the supervisor is gone too: it has the environment of its start.

sub ended {
    $nginx->quit;
    $lab->wait_for(10, 'the end', sub { !$web->pids });
}


sub talks {
    my ($name) = @_;

    $peer->wait_peer('web', 20);

    my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};

    my $answer = $peer->wait_get("http://$ip/", seconds => 25);

    is($answer->{body}, "page\n", "$name: HTTP works")
        or diag($answer->{error}, $nginx->error_log);

    is($peer->peer('web')->{CurAddr}, '', 'over DERP');
}


sub front {
    my ($condition) = @_;
    my ($dir, $name) = @{$derper}{qw(dir name)};

    $front->configure(http => <<"HTTP");
    log_format upgrade '\$status \$http_upgrade \$remote_addr';
    map \$http_upgrade \$hop { '' close; default upgrade; }

    server {
        listen 443 ssl;
        access_log logs/access.log upgrade;
        ssl_certificate $dir/$name.crt;
        ssl_certificate_key $dir/$name.key;

        set \$by "\$http_upgrade \$remote_addr";

        location / {
            $condition
            proxy_pass https://127.0.0.1:4443;
            proxy_ssl_name $name;
            proxy_ssl_server_name on;
            proxy_http_version 1.1;
            proxy_read_timeout 600s;
            proxy_set_header Host $name;
            proxy_set_header Upgrade \$http_upgrade;
            proxy_set_header Connection \$hop;
        }
    }
HTTP
}
