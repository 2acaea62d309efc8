package Bench::Server;

# One of those who compete: nginx on a host of its own, reached by the client
# through our module (on either stack), through a tailscaled beside it, or
# without a tunnel; or a Go program with tsnet inside. All nginx have the same
# nginx.conf but for the listeners and the upstream.

use strict;
use warnings;

use Carp qw(croak);
use POSIX ();
use Time::HiRes qw(sleep);

use Bench::Usage;

my %KINDS = (
    ours       => { host => 'web',   title => 'ngx_tailnet' },
    lwip       => { host => 'lwip',  title => 'ngx_tailnet, lwip' },
    tailscaled => { host => 'rival', title => 'tailscaled + nginx' },
    tsnet      => { host => 'tsnet', title => 'tsnet' },
    plain      => { host => 'plain', title => 'nginx, no tunnel' },
);

# On the host: lead to the peer's web server, and to that of a node of ours.

my $PROXY_PORT = 8080;
my $PROXY_OWN_PORT = 8081;


sub kinds { return qw(ours lwip tailscaled tsnet plain) }


sub title_of {
    my ($class, $kind) = @_;
    return ($KINDS{$kind} // croak "there is no $kind to compare")->{title};
}


# start($kind, lab => $lab, tailnet => what small_tailnet() returned,
#       root => the directory to serve, upstream => a node of ours, or none)
# Begins to start one; ready() returns when the client has got a page.

sub start {
    my ($class, $kind, %opt) = @_;
    my $what = $KINDS{$kind} // croak "there is no $kind to compare";
    my ($lab, $tailnet) = @opt{qw(lab tailnet)};

    my $self = bless {
        %opt,
        %$what,
        kind   => $kind,
        client => $tailnet->{peer},
    }, $class;

    $self->{on} = $what->{host} eq 'web' ? $tailnet->{web}
        : $lab->host($what->{host});
    $self->{cert} = [$lab->ca->issue($lab->dir, "$what->{host}.bench")];

    $self->start_tailscaled if $kind eq 'tailscaled';
    $kind eq 'tsnet' ? $self->start_tsnet : $self->start_nginx;

    return $self;
}


sub ready {
    my ($self) = @_;

    if (my $joining = delete $self->{joining}) {
        waitpid $joining, 0;
        croak 'tailscaled does not join: ' . $self->{tunnel}->process->log
            if $?;
    }

    $self->{address} = $self->tunnelled ? $self->tailnet_ip4
        : $self->{on}->ip4;
    $self->wait_page(30);
}


# "tailscale up" waits for seconds in which others can start.

sub start_tailscaled {
    my ($self) = @_;
    my $tunnel = $self->{tunnel}
        = $self->{lab}->tailscaled(host => $self->{on});

    $self->{joining} = fork() // croak "fork: $!";

    return if $self->{joining};

    POSIX::_exit(eval {
        $tunnel->up(control  => $self->{tailnet}{control},
                    auth_key => $self->{tailnet}{auth_key});
    } ? 0 : 1);
}


sub is_module { return $_[0]{kind} eq 'ours' || $_[0]{kind} eq 'lwip' }


sub start_nginx {
    my ($self) = @_;
    my ($lab, $tailnet, $kind) = @{$self}{qw(lab tailnet kind)};
    my $listen = $self->is_module ? 'tailnet=home' : '';
    my $peer = $tailnet->{peer};
    my $main = "worker_processes 1;\n";

    my $nginx = $lab->nginx(host => $self->{on}, module => $self->is_module,
                            level => 'notice');
    $self->{nginx} = $nginx;

    $main .= $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
        hostname => $self->{host},
        extra    => $kind eq 'lwip' ? 'stack lwip;' : '') if $self->is_module;

    # A name that a part of these cannot dial yet must not stop the rest.

    my $upstream = $self->is_module ? 'server peer:80 tailnet=home;'
        : 'server ' . ($kind eq 'plain' ? $peer->host->ip4 : $peer->ip4)
          . ':80;';
    my $proxies = proxy('peer', $PROXY_PORT, $upstream);

    if (my $own = $self->{upstream}) {
        $proxies .= proxy('own', $PROXY_OWN_PORT, $self->is_module
            ? 'server ' . $own->name . ':80 tailnet=home;'
            : 'server ' . $own->address . ':80;');
    }

    $nginx->configure(main => $main, http => <<"HTTP");
    sendfile            on;
    tcp_nopush          on;
    open_file_cache     max=16;
    keepalive_requests  1000000000;
    keepalive_timeout   600s;
    access_log          off;
    ssl_protocols       TLSv1.3;
    ssl_session_tickets off;

    server {
        listen              80 $listen;
        listen              443 ssl $listen;
        ssl_certificate     $self->{cert}[0];
        ssl_certificate_key $self->{cert}[1];
        root                $self->{root};
    }

$proxies
HTTP
    $nginx->start;
}


sub proxy {
    my ($name, $port, $upstream) = @_;

    return <<"HTTP";
    upstream $name {
        $upstream
        keepalive 64;
        keepalive_timeout 2s;
    }

    server {
        listen              $port;

        location / {
            proxy_pass               http://$name;
            proxy_http_version       1.1;
            proxy_set_header         Connection "";
            proxy_max_temp_file_size 0;
            proxy_buffer_size        64k;
            proxy_buffers            16 64k;
            proxy_busy_buffers_size  256k;
        }
    }
HTTP
}


sub start_tsnet {
    my ($self) = @_;
    my ($lab, $tailnet) = @{$self}{qw(lab tailnet)};
    my $dir = $lab->path('tsnet');
    my $key = $lab->write_file($lab->path('tsnet.key'), $tailnet->{auth_key},
                               0600);

    mkdir $dir, 0700 or croak "$dir: $!";

    $self->{tunnel_process} = $self->{on}->start('tsnet',
        [$lab->bin('tsnetd'), '-dir', $dir, '-key', $key,
         '-control', $tailnet->{control}->url, '-hostname', $self->{host},
         '-root', $self->{root}, '-cert', $self->{cert}[0],
         '-cert-key', $self->{cert}[1], '-proxy', ":$PROXY_PORT",
         '-upstream', $tailnet->{peer}->ip4 . ':80'],
        env => {
            HOME                  => $dir,
            SSL_CERT_FILE         => $lab->ca->cert,
            TS_NO_LOGS_NO_SUPPORT => 'true',
        });
}


sub kind { return $_[0]{kind} }
sub title { return $_[0]{title} }
sub address { return $_[0]{address} }
sub host { return $_[0]{on} }
sub proxy_port { return $PROXY_PORT }
sub proxy_own_port { return $PROXY_OWN_PORT }
sub tunnelled { return $_[0]{kind} ne 'plain' }


sub tailnet_ip4 {
    my ($self) = @_;
    my $peer = $self->{client}->wait_peer($self->{host}, 30);

    return (grep { !/:/ } @{$peer->{TailscaleIPs}})[0];
}


sub wait_page {
    my ($self, $seconds) = @_;
    my $r = $self->{client}->wait_get("http://$self->{address}/1k",
                                      seconds => $seconds);

    return if $r && $r->{status} == 200;

    croak "no page from $self->{title}: " . ($r ? $r->{error} : '')
        . "\n" . ($self->{nginx} ? $self->{nginx}->error_log
                  : $self->{tunnel_process}->log);
}


# The path the client has to it after some seconds at most: "direct",
# "derp-CODE"; nothing without a tunnel.

sub path {
    my ($self, $seconds, $wanted) = @_;

    return unless $self->tunnelled;

    my $pong = eval {
        $self->{client}->wait_path($self->{address}, $wanted // qr/direct/,
                                   $seconds);
    } // $self->{client}->ping($self->{address});

    return $pong ? $pong->{path} : 'none';
}


# Processes: nginx's own, and those of the tunnel. A tsnet program is both.

sub nginx_pids {
    my ($self) = @_;
    my $nginx = $self->{nginx} // return;

    return ($nginx->pid, $nginx->workers);
}


sub tunnel_pids {
    my ($self) = @_;

    return Bench::Usage::of_host($self->{on}, Bench::Usage::ours($self->{lab}))
        if $self->is_module;

    return map { $_->process->pid } $self->{tunnel} if $self->{tunnel};
    return $self->{tunnel_process} ? $self->{tunnel_process}->pid : ();
}


# { nginx, tunnel }: CPU seconds so far.

sub cpu {
    my ($self) = @_;

    return {
        nginx  => Bench::Usage::cpu($self->nginx_pids),
        tunnel => Bench::Usage::cpu($self->tunnel_pids),
    };
}


# The process that carries the packets, for kill -9.

sub carrier_pid {
    my ($self) = @_;
    my @pids = $self->tunnel_pids;

    @pids = grep { Bench::Usage::name_of($_) eq 'tailnet-core' } @pids
        if $self->is_module;

    croak "$self->{title} has " . @pids . ' processes to kill'
        if @pids != 1;

    return $pids[0];
}


# Our supervisor starts a new core; tailscaled is started again as its own
# systemd unit (Restart=on-failure) would, after systemd's default 100 ms.

sub restart_if_needed {
    my ($self) = @_;

    return if $self->{kind} ne 'tailscaled'
        || $self->{tunnel}->process->alive;

    sleep(0.1);
    $self->{tunnel}->start;
}


1;
